"""From the lake to the online store: ``jobs`` materializes, ``push`` brings rows through both, ``erase`` removes from both."""

from featurestore.materialize.erase import erase
from featurestore.materialize.jobs import materialize
from featurestore.materialize.push import push
from featurestore.materialize.reports import MaterializeReport, PushReport, ViewReport

__all__ = ["MaterializeReport", "PushReport", "ViewReport", "erase", "materialize", "push"]
