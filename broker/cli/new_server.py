"""`broker new-server NAME`: a small server of the mcp SDK with everything that one here needs, and tests that pass."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from broker.errors import ConfigInvalid

_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}", re.ASCII)
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+", re.ASCII)
_GROUP = re.compile(r"[^\s\[\]{}?\"'\\]{1,128}")
_SUPPORT = re.compile(r"[^\r\n\x00-\x1f\"\\]{1,200}")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("new-server", help="make a small MCP server in a folder of its own, to put behind the broker")
    parser.add_argument("name", metavar="NAME", help="letters, digits and -: its name in the catalogue, and the folder's")
    parser.add_argument("--owner", metavar="GROUP", help="the group of people.yaml that answers for it (NAME-team)")
    parser.add_argument("--support", metavar="WHERE", help="where its users ask (slack:#NAME)")
    parser.add_argument("--domain", default="com.example", help="your reverse domain, for the registry (com.example)")
    parser.add_argument("--port", type=int, default=9100, help="where it listens (9100)")
    parser.add_argument("--into", type=Path, default=Path(), metavar="FOLDER", help="where its folder is made (here)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises `ConfigInvalid`; nothing has been written then."""
    words = _words(args)
    folder: Path = args.into / args.name
    if folder.exists():
        raise ConfigInvalid(f"{folder} is there already, and is left as it is: take another name, or --into another folder")
    for name, content in _rendered(words).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    print(f"{folder} holds a server with two tools. Next:\n")
    print(f"  cd {folder}\n  python -m pytest\n  python server.py\n  broker servers enrol server.json --submit")
    return 0


def _words(args: argparse.Namespace) -> dict[str, str]:
    """What the templates are filled with; each is safe in Python, JSON and YAML alike."""
    words = {
        "name": args.name,
        "group": args.owner or f"{args.name}-team",
        "support": args.support or f"slack:#{args.name}",
        "domain": args.domain,
    }
    for word, shape in {"name": _NAME, "group": _GROUP, "support": _SUPPORT, "domain": _DOMAIN}.items():
        if not shape.fullmatch(words[word]):
            raise ConfigInvalid(f"{words[word]!r} can't be the {word} of a server: {_WANTED[word]}")
    if not 1 <= args.port <= 65_535:
        raise ConfigInvalid(f"{args.port} is no port: write a number from 1 to 65535")
    return {**words, "port": str(args.port), "title": args.name.replace("-", " ").capitalize()}


_WANTED = {
    "name": "a small letter first, then small letters, digits and -, 41 at most",
    "group": "a group's name has no blanks, quotes or brackets",
    "support": "one line without quotes",
    "domain": "write it like com.example",
}


def _rendered(words: dict[str, str]) -> dict[str, str]:
    """Return the files by their names below the folder."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - the command line starts fast

    from broker.assets import shipped  # noqa: PLC0415

    root = shipped("templates") / "new-server"
    # No HTML is made here, and the words can't leave the texts that they stand in.
    pages = Environment(loader=FileSystemLoader(root), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    names = sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {name: pages.get_template(name).render(words) for name in names}
