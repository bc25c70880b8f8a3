"""Lists and parameters, of which most header fields are made (RFC 9110, 5.6).

What reads a field takes its value as text, whatever it is, raises nothing, and takes time in proportion to its length.
"""

from __future__ import annotations

import re

# A quoted string may hold what separates; one that does not end is taken for plain text.
_member = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^,"])++', re.DOTALL).finditer
_quoted = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL).match
_part = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^;"])++', re.DOTALL).finditer


def members(value: str) -> list[str]:
    """Return the members of a list (RFC 9110, 5.6.1), none of them empty; a comma in a quoted string separates nothing.

    >>> members('a, , "b, c";x=1 ,d')
    ['a', '"b, c";x=1', 'd']
    """
    found = [each[0] for each in _member(_balanced(value))] if '"' in value else value.split(",")
    return [member for each in found if (member := each.strip(" \t"))]


def parameters(member: str) -> tuple[str, dict[str, str]]:
    """Return what stands before the first semicolon, and the parameters (RFC 9110, 5.6.6), names in lower case.

    Of a parameter that is there twice, the first counts.

    >>> parameters('form-data; Name="a; b"; filename=c')
    ('form-data', {'name': 'a; b', 'filename': 'c'})
    """
    found = [each[0].strip(" \t") for each in _part(_balanced(member))] if '"' in member else _plain(member)
    given: dict[str, str] = {}
    for part in found[1:]:
        name, _, value = part.partition("=")
        given.setdefault(name.strip(" \t").lower(), unquoted(value.strip(" \t")))
    return found[0] if found else "", given


def unquoted(value: str) -> str:
    r"""Return a token, or what stands in a quoted string (RFC 9110, 5.6.4).

    >>> unquoted(r'"a \"b\""'), unquoted("a")
    ('a "b"', 'a')
    """
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)


def _plain(member: str) -> list[str]:
    return [part.strip(" \t") for part in member.split(";")]


def _balanced(value: str) -> str:
    """Return it without the quotes from the one on that nothing ends: whoever looked for its end would begin anew."""
    at = 0
    while (at := value.find('"', at)) >= 0:
        found = _quoted(value, at)
        if found is None:
            return value[:at] + value[at:].replace('"', "")
        at = found.end()
    return value
