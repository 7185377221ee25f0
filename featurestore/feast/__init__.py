"""For people who come from Feast: their definitions, their stores' interfaces, their HTTP API and their data.

``import_repository`` makes definitions of ours from theirs. ``FeatureStoreOnlineStore`` and ``FeatureStoreOfflineStore`` are
our stores behind Feast's own interfaces; naming one loads Feast, nothing else here does.
"""

from __future__ import annotations
