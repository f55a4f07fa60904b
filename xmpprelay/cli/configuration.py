"""`config`: a configuration to begin with, and what is wrong with one."""

from pathlib import Path

import click

from xmpprelay.cli.shared import complain, config_option, load_config


@click.group(epilog="Example: xmpprelay config sample >/etc/xmpprelay/xmpprelay.toml")
def config() -> None:
    """Write a configuration, or check it."""


@config.command(epilog="Example: xmpprelay config sample >/etc/xmpprelay/xmpprelay.toml")
@click.option("--markdown", "as_page", is_flag=True, help="Print the manual page instead.")
def sample(as_page: bool) -> None:
    """Print a configuration to begin with.

    It has every option, with its explanation and its default.
    """
    from xmpprelay.config import markdown, sample

    click.echo(markdown() if as_page else sample(), nl=False)


@config.command(epilog="Example: xmpprelay config check --config xmpprelay.toml")
@config_option
def check(config_path: Path) -> None:
    """Tell all mistakes of a configuration.

    What is allowed, but doubtful, is warned of. Nothing is connected to, and nothing opened but the
    configuration and the secret's file.
    """
    loaded = load_config(config_path)
    from xmpprelay.config import warnings

    for warning in warnings(loaded):
        complain(f"warning: {warning}")
    click.echo(f"{config_path} has no mistakes.")
