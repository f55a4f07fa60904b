"""What the errors of SQLite and PostgreSQL mean for a post that was to be written.

A commit that was not sent yet cannot have happened, whatever went wrong before it. Once it is sent,
only the database's own refusal of the row is certain.

Of PostgreSQL's errors the code is told and not the words, which may quote a post; SQLite's words
name tables and columns, and quote no value.
"""

from typing import Final

from sqlalchemy.exc import DBAPIError

from xmpprelay.core.primary import Outcome, Result, Scope

_MAX_DETAIL_CHARS: Final = 200


def result_of(error: Exception, *, committing: bool) -> Result:
    """What it means that a request failed like this, before its commit was sent or after."""
    certain = _without_commit(error)
    if committing and certain.outcome is not Outcome.REJECTED:
        return Result(
            Outcome.UNKNOWN,
            scope=Scope.DRIVER,
            reason=certain.reason,
            detail="The database failed while the row was committed.",
        )
    return certain


def later(reason: str, detail: str) -> Result:
    """Nothing can be written until somebody has done what `detail` says."""
    return Result(
        Outcome.RETRY, scope=Scope.DRIVER, reason=reason, detail=detail[:_MAX_DETAIL_CHARS]
    )


def not_unique() -> Result:
    """The table could hold a post twice."""
    return later(
        "not_unique",
        "The table is not unique in id, so a post could be there twice: "
        "CREATE UNIQUE INDEX ON the table (id).",
    )


def read_only() -> Result:
    """Nobody may write there now."""
    return later(
        "read_only", "The primary's database is read-only: let the relay's user write to it."
    )


def no_privilege() -> Result:
    """The database's user may not do what the relay needs."""
    return _locked_out(
        "no_privilege",
        "The database user may not use the table: GRANT SELECT, INSERT, UPDATE on it; to make it, "
        "CREATE on the schema.",
    )


def _without_commit(error: Exception) -> Result:
    orig = error.orig if isinstance(error, DBAPIError) else error
    sqlstate = getattr(orig, "sqlstate", None)
    sqlite_code = getattr(orig, "sqlite_errorcode", None)
    if isinstance(sqlstate, str):
        return _of_postgresql(sqlstate)
    if isinstance(sqlite_code, int):
        return _of_sqlite(sqlite_code, str(orig))
    if isinstance(error, TimeoutError):
        return later("timeout", "The primary's database did not answer in time.")
    if isinstance(error, UnicodeError):
        return _refused("no_text", "The text has what is no character.")
    if isinstance(error, ValueError):
        return later("bad_url", "The URL of the primary's database cannot be used: correct it.")
    return later("no_connection", "The primary's database cannot be reached: see that it runs.")


def _of_postgresql(code: str) -> Result:
    """https://www.postgresql.org/docs/current/errcodes-appendix.html"""
    reason = f"sql_{code.lower()}"
    if code.startswith("23"):
        return _refused(reason, f"The table's constraints do not allow this row ({code}).")
    if code.startswith("22"):
        return _refused(reason, f"The database cannot hold this value ({code}).")
    if code.startswith("28"):
        return _locked_out(
            reason, "The database does not let this user in: correct the user and the password."
        )
    if code == "42501":
        return no_privilege()
    if code == "42P10":
        return not_unique()
    if code.startswith("42"):
        return later("schema", f"The table is not as the relay needs it ({code}): correct it.")
    if code == "3D000":
        return later("no_database", "There is no such database: make it, or correct its name.")
    if code == "25006":
        return read_only()
    return later(reason, f"The primary's database cannot do it now ({code}): look into its log.")


# https://www.sqlite.org/rescode.html
_ERROR: Final = 1
_READ_ONLY: Final = 8
_FULL: Final = 13
_CANTOPEN: Final = 14
_REFUSES: Final = (18, 19, 20)  # TOOBIG, CONSTRAINT, MISMATCH


def _of_sqlite(extended: int, words: str) -> Result:
    code = extended & 0xFF
    reason = f"sqlite_{code}"
    if code in _REFUSES:
        return _refused(reason, f"The table does not allow this row ({words}).")
    if code == _ERROR and words.startswith("ON CONFLICT clause does not match"):
        return not_unique()
    if code == _ERROR:
        return later("schema", f"The table is not as the relay needs it ({words}): correct it.")
    if code == _READ_ONLY:
        return read_only()
    if code == _FULL:
        return later("full", "The disk of the primary's database is full: make room.")
    if code == _CANTOPEN:
        return later("no_file", "The primary's database cannot be opened: see to its folder.")
    return later(reason, f"The primary's database cannot be used now ({words}).")


def _refused(reason: str, detail: str) -> Result:
    return Result(Outcome.REJECTED, reason=reason, detail=detail[:_MAX_DETAIL_CHARS])


def _locked_out(reason: str, detail: str) -> Result:
    return Result(Outcome.AUTH, scope=Scope.DRIVER, reason=reason, detail=detail)
