"""The mistake behind most size errors, named once."""


def swap_hint(found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """The end of a message about two sizes: a likely cause, where one is the other turned around.

    >>> swap_hint((375, 500), (500, 375))
    '; likely width and height swapped'
    >>> swap_hint((375, 500), (375, 500)), swap_hint((3, 4), (6, 8))
    ('', '')
    """
    return "; likely width and height swapped" if found != expected and found == expected[::-1] else ""
