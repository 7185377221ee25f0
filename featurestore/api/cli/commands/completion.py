"""``featurestore completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from featurestore.api.cli.session import Session, global_options, pass_session


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@global_options
@pass_session
def command(session: Session, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  featurestore completion bash > ~/.local/share/bash-completion/completions/featurestore
    zsh:   featurestore completion zsh > "${fpath[1]}/_featurestore"
    fish:  featurestore completion fish > ~/.config/fish/completions/featurestore.fish
    """
    root = click.get_current_context().find_root().command
    complete = get_completion_class(shell)
    if complete is None:
        raise click.UsageError(f"no completion for {shell}")
    script = complete(root, {}, "featurestore", "_FEATURESTORE_COMPLETE").source()
    session.output.answer({"shell": shell, "script": script}, lambda: session.output.line(script))
