"""Commands about the account elsewhere: `link`, `unlink`; and codes that are typed as if posts."""

from collections.abc import Mapping
from typing import Final

from xmpprelay.commands.arguments import code_in
from xmpprelay.commands.calls import Call, Function, Rooms
from xmpprelay.commands.grammar import Ask, Command, Line, Text
from xmpprelay.commands.values import Code, Domain
from xmpprelay.config import host_of
from xmpprelay.errors import Refused
from xmpprelay.linking import Linking
from xmpprelay.store.links import StoredLink


async def _link(rooms: Rooms, call: Call) -> str:
    """`link`, `link INSTANCE`, `link CODE`, `link private`, `link public`."""
    linking, to = _linking(rooms), call.arguments.get("to")
    match to:
        case Code(text):
            link = await linking.finish(call.sender, text)
            return f"You are linked as @{link.name}. {_goes_there(rooms, link)}"
        case Domain(name):
            return await _begin(linking, call.sender, name)
        case "private" | "public":
            link = await linking.set_private(call.sender, to == "private")
            if link.private:
                return (
                    f"While your posts are protected, they go to @{link.name} for your followers "
                    "there alone. `link public` ends that."
                )
            return f"While your posts are protected, they do not go to @{link.name}."
    linked_before = linking.link_of(call.sender)
    if linked_before is not None:
        return _state(rooms, linking, linked_before)
    begun = linking.begun(call.sender)
    if begun is not None:
        return _instructions(host_of(begun.site), begun.address)
    if len(linking.hosts) == 1:
        return await _begin(linking, call.sender, linking.hosts[0])
    choices = ", ".join(f"`link {host}`" for host in linking.hosts)
    return f"You have no linked account. Choose where yours is: {choices}."


async def _begin(linking: Linking, sender: str, host: str) -> str:
    begun = await linking.begin(sender, host)
    return _instructions(host, begun.address)


def _instructions(host: str, address: str) -> str:
    return (
        f"Open this address within 15 minutes, log in at {host}, and let the relay in: {address}\n"
        "Then send the code that you are shown, as `link CODE`."
    )


def _state(rooms: Rooms, linking: Linking, link: StoredLink) -> str:
    """Where somebody's posts go, and what he can do about it."""
    host = host_of(link.site)
    sentences = [f"You are linked as @{link.name}."]
    if host not in linking.hosts:
        sentences.append(f"The operator has taken {host} out, so your posts wait.")
    elif linking.account(link.person) is None:
        sentences.append(f"Your login there does not hold any more: `link {host}` renews it.")
    else:
        sentences.append(_goes_there(rooms, link))
    others = [f"`link {each}`" for each in linking.hosts if each != host]
    if others:
        sentences.append(f"{', '.join(others)} links an account there instead.")
    sentences.append("`unlink` ends it.")
    return " ".join(sentences)


def _goes_there(rooms: Rooms, link: StoredLink) -> str:
    if not rooms.graph.protected(link.person):
        return "What you post goes there as well."
    if link.private:
        return "Your posts are protected; they go there for your followers there alone."
    return "Your posts are protected, so they do not go there, unless you say `link private`."


async def _unlink(rooms: Rooms, call: Call) -> str:
    """`unlink`."""
    ended = await _linking(rooms).unlink(call.sender)
    answer = f"Your posts do not go to @{ended.name} any more."
    if ended.revoked:
        return f"{answer} The relay cannot write there now."
    return (
        f"{answer} {ended.host} could not be told to end the login: do that there, in the settings "
        "of your account, under the applications that you have let in."
    )


def _linking(rooms: Rooms) -> Linking:
    if rooms.linking is None:
        raise Refused("Accounts cannot be linked on this relay; its operator decides that.")
    return rooms.linking


def without_code(rooms: Rooms, sender: str, line: Line) -> Line:
    """What a line is while a login of its sender waits for a code, which must never be posted.

    A text that is nothing but a code ends the login; one that has a code in it is asked about.
    """
    if rooms.linking is None or not isinstance(line, Text) or line.forced:
        return line
    if rooms.linking.begun(sender) is None:
        return line
    words = [word.strip("`.,;:!?()<>\"'") for word in line.text.split()]
    codes = [code for code in map(code_in, words) if code is not None]
    if len(words) == 1 and codes:
        return Command("link", {"to": codes[0]})
    if any(_looks_random(code.text) for code in codes):
        return Ask(
            "is there the code of your login in this? nothing was posted: send `link CODE`, or put "
            "`\\` in front to post it"
        )
    return line


def _looks_random(word: str) -> bool:
    """Whether it is no long word of a language."""
    return any(char.isdigit() for char in word) or not (
        word.islower() or word.isupper() or word.istitle()
    )


VERBS: Final[Mapping[str, Function]] = {
    "link": _link,
    "unlink": _unlink,
}
"""The verbs that this file does."""
