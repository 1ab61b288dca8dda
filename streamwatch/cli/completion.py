"""`streamwatch completion`: the script that lets a shell complete commands and options."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes streamwatch's commands and options.

    \b
    streamwatch completion bash > ~/.local/share/bash-completion/completions/streamwatch
    streamwatch completion zsh > ~/.zfunc/_streamwatch     # with fpath+=~/.zfunc before compinit
    streamwatch completion fish > ~/.config/fish/completions/streamwatch.fish

    Or for this shell alone: source <(streamwatch completion bash)
    """  # noqa: D301 -- click keeps the lines after this character as they are
    from click.shell_completion import get_completion_class

    from streamwatch.cli import main

    complete = get_completion_class(shell)
    if complete is None:  # a click that no longer knows it
        message = f"The installed click has no completion for {shell}."
        raise click.ClickException(message)
    click.echo(complete(main, {}, "streamwatch", "_STREAMWATCH_COMPLETE").source())
