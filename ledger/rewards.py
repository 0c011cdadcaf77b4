"""Tokens: transfers, escrow and the reward of a round, [ANCHOR] Algorithm 3. The supply never changes."""

from dataclasses import replace

from ledger.entries import LEAGUE, OPEN_REQUESTS, Account, League, OpenRequests, Request, account_key, request_key
from ledger.errors import InvalidTransaction
from ledger.state import State
from ledger.types import OrgId


def reward(records_counted: int, price: int) -> int:
    """What a finished round earns: records x C [ANCHOR Algorithm 3]; records beyond the anchored were cut before."""
    return records_counted * price


def withdraw(state: State, org: OrgId | bytes, amount: int) -> None:
    """Raises InvalidTransaction ("balance") when the account holds less."""
    account = state.need(Account, account_key(org))
    if account.balance < amount:
        raise InvalidTransaction("balance", f"balance {account.balance}, want {amount}")
    state.put(account_key(org), replace(account, balance=account.balance - amount))


def deposit(state: State, org: OrgId | bytes, amount: int) -> None:
    account = state.need(Account, account_key(org))
    state.put(account_key(org), replace(account, balance=account.balance + amount))


def tokens_in_circulation(state: State) -> int:
    """Balances plus escrow; equals `League.supply` at every height."""
    balances = sum(account.balance for _, account in state.scan(Account, b"account/"))
    open_requests = state.need(OpenRequests, OPEN_REQUESTS)
    return balances + sum(state.need(Request, request_key(each)).escrow for each in open_requests.ids)


def supply(state: State) -> int:
    return state.need(League, LEAGUE).supply
