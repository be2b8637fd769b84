"""What a merge or a split means for the people it is about."""

from cdp.portrait.effects.weigh import Holder, Relinked, Side, holders, sides

__all__ = ["Holder", "Relinked", "Side", "holders", "sides"]
