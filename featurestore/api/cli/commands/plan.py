"""``featurestore plan``."""

from __future__ import annotations

import click

from featurestore.api.cli.exits import ExitCode
from featurestore.api.cli.session import Session, global_options, pass_session


@click.command("plan")
@click.option(
    "--check", is_flag=True, help=f"Exit with {ExitCode.DIFFERENT.value} where apply would change something (for CI)."
)
@global_options
@pass_session
def command(session: Session, check: bool) -> int:
    """Show what `apply` would change, and what follows from it.

    Changes nothing. Definitions that may not be applied make it fail. Of views of windows it says what their keys take
    online (not with --check).
    """
    plan = session.store.plan(measure=not check)
    session.output.answer(plan.to_dict(), lambda: session.output.line(plan))
    plan.check()
    return ExitCode.DIFFERENT if check and plan.changes else ExitCode.OK
