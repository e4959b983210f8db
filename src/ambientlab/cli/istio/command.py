"""How istioctl reads its command line: pflag's rules and cobra's words where they differ from click's.

Flags of the root are taken anywhere (istioctl/pkg/cli/option.go), booleans take a value (`--wait=false`), and what is
not there is named in cobra's words. Exit codes are istioctl's: 64 for a command line that makes no sense
(istioctl/cmd/sysexits.go).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from ambientlab.cli.mesh import Seconds
from ambientlab.cli.reading import stdin

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ambientlab.host.kubeapi import KubeApi
    from ambientlab.host.kubectl import Kubectl

EXIT_USAGE = 64
_TRUTH = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
"""Go's strconv.ParseBool."""


class Cluster:
    """The cluster and the namespace of one call, as the flags of the root say."""

    def __init__(self) -> None:
        self.kubeconfig: Path | None = None
        self.context: str | None = None
        self.given = ""
        """The namespace as it was typed, "" if it was not."""
        self.istio_namespace = "istio-system"
        self.impersonated: tuple[str, ...] = ()
        self.until: float | None = None
        """When kubectl has to have answered all (time.monotonic), if it has to."""

    @cached_property
    def kubectl(self) -> Kubectl:
        from ambientlab.host import access
        from ambientlab.host.kubectl import Kubectl

        if self.kubeconfig is not None:
            try:
                self.kubeconfig.stat()
            except OSError as error:
                why = f"stat {self.kubeconfig}: {str(error.strerror).lower()}"
                raise click.ClickException(f"failed to setup client: {why}") from None
        if self.context is not None and not access.knows(self.context, self.kubeconfig):
            raise click.ClickException(f'failed to setup client: context "{self.context}" does not exist')
        return Kubectl(self.kubeconfig, self.context, self.impersonated, self.until)

    @contextmanager
    def api(self) -> Iterator[KubeApi]:
        """To read it at once. Who else is to ask than the kubeconfig says, kubectl has to tell the API."""
        from ambientlab.cli import reading

        if not self.impersonated:
            with reading.api(self.context, self.kubeconfig) as opened:
                yield opened
            return
        from ambientlab.host import access
        from ambientlab.host.kubeapi import KubeApi

        with (
            self.kubectl.proxy() as socket,
            KubeApi(access.behind(socket, self.context or "")) as opened,
        ):
            yield opened

    @property
    def namespace(self) -> str:
        """As it was typed, or else the context's."""
        return self.given or self.kubectl.namespace()


def _sets(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value not in (None, ()):
            setattr(ctx.ensure_object(Cluster), name, value)

    return callback


def _impersonates(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    cluster = ctx.ensure_object(Cluster)
    values = value if isinstance(value, tuple) else (value,) if value else ()
    cluster.impersonated += tuple(f"{param.opts[0]}={each}" for each in values)


def _persistent() -> list[click.Parameter]:
    def flag(*names: str, help: str, set_: str = "", **more: Any) -> click.Option:
        callback = _sets(set_) if set_ else _impersonates
        return click.Option(names, help=help, expose_value=False, callback=callback, **more)

    path = click.Path(path_type=Path)
    return [
        flag("-c", "--kubeconfig", set_="kubeconfig", type=path, help="Kubernetes configuration file"),
        flag("--context", set_="context", help="Kubernetes configuration context"),
        flag("-n", "--namespace", set_="given", help="Kubernetes namespace"),
        flag("-i", "--istioNamespace", set_="istio_namespace", help="Istio system namespace (default istio-system)"),
        flag("--as", help="Username to impersonate for the operation."),
        flag("--as-uid", help="UID to impersonate for the operation."),
        flag("--as-group", multiple=True, help="Group to impersonate for the operation; can be repeated."),
    ]


def _accepted() -> list[click.Parameter]:
    """Those of Istio's that have nothing to do with what is read: here kubectl asks, and with its own patience."""
    return [
        click.Option(["--kubeclient-timeout"], type=Seconds(), expose_value=False, help="Accepted; kubectl's hold."),
        click.Option(["--vklog"], type=int, expose_value=False, help="Accepted; nothing here logs."),
    ]


_PERSISTENT = [*_persistent(), *_accepted()]


def contents(file: Path) -> bytes:
    """Of a file, or of stdin for `-`. What is wrong with it is said in Go's words."""
    try:
        return stdin() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        doing = "read" if isinstance(error, IsADirectoryError) else "open"
        raise click.ClickException(f"{doing} {file}: {str(error.strerror).lower()}") from None


def named(file: Path | None, error: Exception) -> str:
    """What is wrong with what was read of a file, if it was one."""
    return str(error) if file is None else f"{'stdin' if str(file) == '-' else file}: {error}"


class Boolean(click.Option):
    """A flag as Go's pflag has it: `--wait` or `--wait=false`. click knows it by a second name, which is not shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        secondary, self.secondary_opts = self.secondary_opts, []
        try:
            return super().get_help_record(ctx)
        finally:
            self.secondary_opts = secondary


def boolean(*names: str, default: bool = False, help: str) -> Callable[[Any], Any]:
    long = next(name for name in names if name.startswith("--"))
    declared = [*(name for name in names if name != long), f"{long}/--no-{long[2:]}"]
    return click.option(*declared, cls=Boolean, default=default, help=help)


class Command(click.Command):
    """With the flags of the root, and booleans as pflag has them."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *_PERSISTENT]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = {name: one for one in self.get_params(ctx) for name in one.opts}
        return super().parse_args(ctx, [_plain(argument, options) for argument in args])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        unknown = {name for one in self.params if isinstance(one, Boolean) for name in one.secondary_opts}
        return [item for item in super().shell_complete(ctx, incomplete) if item.value not in unknown]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, params in (("Flags", super().get_params(ctx)), ("Global Flags", _PERSISTENT)):
            records = [record for param in params if (record := param.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _plain(argument: str, options: Mapping[str, click.Parameter]) -> str:
    """What click knows an argument by: of others than these options, which a group leaves to its commands, itself."""
    name, equals, value = argument.partition("=")
    option = options.get(name)
    if not equals or option is None:
        return argument
    if not isinstance(option, Boolean):
        return name + value if len(name) == len("-o") else argument
    if value not in _TRUTH:
        words = f'strconv.ParseBool: parsing "{value}": invalid syntax'
        raise click.UsageError(invalid(value, option, words))
    return name if _TRUTH[value] else option.secondary_opts[0]


class Place(NamedTuple):
    """Where a command is, and its line of help, so that it is imported when it is called alone."""

    module: str
    attribute: str
    help: str


_EARLY = f"{__name__}.early"
"""Where a context keeps what was given before a command's name."""


class Group(Command, click.Group):
    """`aliases` by the name they stand for; `places` of commands that are imported when they are called; `absent` are
    Istio's that are missing, with the reason."""

    command_class = Command
    group_class = type

    def __init__(
        self,
        *arguments: Any,
        aliases: Mapping[str, Sequence[str]] | None = None,
        places: Mapping[str, Place] | None = None,
        absent: Mapping[str, str] | None = None,
        unknown: str = "",
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._full = {alias: name for name, some in (aliases or {}).items() for alias in some}
        self._places = places or {}
        self._absent = absent or {}
        self._unknown = unknown

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._places})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = self._full.get(cmd_name, cmd_name)
        if name in self._places:
            found: click.Command = getattr(import_module(self._places[name].module), self._places[name].attribute)
            return found
        return super().get_command(ctx, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word, *rest = args
        rest = [*ctx.meta.pop(_EARLY, ()), *rest]
        command = self.get_command(ctx, word)
        if command is None:
            if word in self._absent:
                raise click.ClickException(f"`{word}` is not part of this istioctl: {self._absent[word]}")
            if self._unknown:
                raise click.ClickException(f'{self._unknown} "{word}"')
            raise UnknownCommand(word, ctx.command_path, self._similar(ctx, word))
        return command.name, command, rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Available Commands"):
            formatter.write_dl([(name, self._line(ctx, name)) for name in self.list_commands(ctx)])

    def _line(self, ctx: click.Context, name: str) -> str:
        if name in self._places:
            return self._places[name].help
        command = self.get_command(ctx, name)
        return command.get_short_help_str(100) if command else ""

    def _similar(self, ctx: click.Context, word: str) -> list[str]:
        from difflib import get_close_matches

        return get_close_matches(word, self.list_commands(ctx))


def early(*flags: Callable[[Any], Any]) -> Callable[[Group], Group]:
    """Flags of a group's commands that are taken before their names, too, as cobra takes persistent ones."""

    def decorate(group: Group) -> Group:
        for flag in flags:
            flag(group)
            group.params[-1].expose_value, group.params[-1].callback = False, _put_off
        return group

    return decorate


def _put_off(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if ctx.get_parameter_source(str(param.name)) is not ParameterSource.COMMANDLINE:
        return
    given = f"{param.opts[-1]}={value}"
    if isinstance(value, bool):
        given = param.opts[-1] if value else param.secondary_opts[-1]
    ctx.meta.setdefault(_EARLY, []).append(given)


class UnknownCommand(click.ClickException):
    exit_code = EXIT_USAGE

    def __init__(self, word: str, path: str, similar: Sequence[str]) -> None:
        guess = "\n\nDid you mean this?\n" + "".join(f"\t{name}\n" for name in similar) if similar else ""
        super().__init__(f'unknown command "{word}" for "{path}"{guess}\nRun \'{path} --help\' for usage.')


def invalid(value: str, param: click.Parameter, why: str) -> str:
    """What pflag says of a value that a flag does not take."""
    names = ", ".join(sorted(param.opts, key=len))
    return f'invalid argument "{value}" for "{names}" flag: {why}'


_NO_VALUES = (
    (re.compile(r"'(.*)' is not a valid integer\."), "strconv.ParseInt: parsing {}: invalid syntax"),
    (re.compile(r"'(.*)' is not a duration"), "time: invalid duration {}"),
)
"""What click's types and ours say of a value, and what Go does."""
_EXTRA = re.compile(r"Got unexpected extra arguments? \((\S+).*\)")


def words(error: click.UsageError) -> str:
    """A command line that makes no sense, in the words of pflag and cobra."""
    if isinstance(error, click.BadParameter) and isinstance(error.param, click.Option):
        for pattern, why in _NO_VALUES:
            if found := pattern.match(error.message):
                return invalid(found[1], error.param, why.format(f'"{found[1]}"'))
    if isinstance(error, click.NoSuchOption):
        name = error.option_name
        return f"unknown flag: {name}" if name.startswith("--") else f"unknown shorthand flag: '{name[1:]}' in {name}"
    if isinstance(error, click.BadOptionUsage) and "requires an argument" in error.message:
        return f"flag needs an argument: {error.option_name}"
    if error.ctx is not None and (extra := _EXTRA.fullmatch(error.message)):
        return f'unknown command "{extra[1]}" for "{error.ctx.command_path}"'
    return error.format_message()
