"""The driver's errors as ours. Their texts quote documents, so only codes and the names of collections, indexes and fields are taken over.

Codes: https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bson.errors import BSONError
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    ExecutionTimeout,
    InvalidName,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)

from backtrail.errors import (
    BacktrailError,
    BadValue,
    ConstraintFailed,
    Contended,
    DatabaseFault,
    PermissionMissing,
    Retry,
    SchemaChanged,
    StorageFull,
    TooLarge,
    UnsuitableDatabase,
    UsageError,
    clash,
)

DUPLICATE = 11000

_CONTENDED = {112}  # WriteConflict
_AGAIN = {
    6,  # HostUnreachable
    7,  # HostNotFound
    24,  # LockTimeout
    50,  # MaxTimeMSExpired
    64,  # WriteConcernFailed
    89,  # NetworkTimeout
    91,  # ShutdownInProgress
    189,  # PrimarySteppedDown
    225,  # TransactionTooOld
    239,  # SnapshotTooOld
    244,  # TransactionAborted
    246,  # SnapshotUnavailable
    251,  # NoSuchTransaction
    262,  # ExceededTimeLimit
    290,  # TransactionExceededLifetimeLimitSeconds
    10107,  # NotWritablePrimary
    11600,  # InterruptedAtShutdown
    11602,  # InterruptedDueToReplStateChange
    13435,  # NotPrimaryNoSecondaryOk
    13436,  # NotPrimaryOrSecondary
}
_OUT_OF_CACHE = {388}  # TransactionTooLargeForCache
DENIED = {13, 8000}
_REFUSED_LOGIN = {18}
_FULL = {14031}
_TOO_LARGE = {10334, 17280, 17419, 17420}
_NOT_STORABLE = {
    53: "an _id that is a list, a regular expression or undefined",
    28: "a path of the update leads through a value that can hold no field",
    57: "a field name with a dot",
    52: "a field name that begins with $",
    56: "an empty field name",
}
_NOT_IN_TRANSACTION = {263, 166}
_NAMES = {
    1: "InternalError",
    4: "NoSuchKey",
    5: "GraphContainsCycle",
    6: "HostUnreachable",
    7: "HostNotFound",
    8: "UnknownError",
    9: "FailedToParse",
    14: "TypeMismatch",
    15: "Overflow",
    16: "InvalidLength",
    20: "IllegalOperation",
    24: "LockTimeout",
    40: "ConflictingUpdateOperators",
    43: "CursorNotFound",
    50: "MaxTimeMSExpired",
    59: "CommandNotFound",
    61: "ShardKeyNotFound",
    64: "WriteConcernFailed",
    67: "CannotCreateIndex",
    72: "InvalidOptions",
    73: "InvalidNamespace",
    79: "UnknownReplWriteConcern",
    85: "IndexOptionsConflict",
    86: "IndexKeySpecsConflict",
    89: "NetworkTimeout",
    91: "ShutdownInProgress",
    96: "OperationFailed",
    100: "UnsatisfiableWriteConcern",
    115: "CommandNotSupported",
    146: "ExceededMemoryLimit",
    175: "QueryPlanKilled",
    189: "PrimarySteppedDown",
    225: "TransactionTooOld",
    239: "SnapshotTooOld",
    241: "ConversionFailure",
    244: "TransactionAborted",
    246: "SnapshotUnavailable",
    251: "NoSuchTransaction",
    262: "ExceededTimeLimit",
    290: "TransactionExceededLifetimeLimitSeconds",
    291: "NoQueryExecutionPlans",
    292: "QueryExceededMemoryLimitNoDiskUseAllowed",
    10107: "NotWritablePrimary",
    11600: "InterruptedAtShutdown",
    11601: "Interrupted",
    11602: "InterruptedDueToReplStateChange",
    13388: "StaleConfig",
    13435: "NotPrimaryNoSecondaryOk",
    13436: "NotPrimaryOrSecondary",
}
"""Names of codes that a single write can end with, as the server's list has them."""


DRIVER = (PyMongoError, BSONError)
"""What the driver raises."""


def translate(error: PyMongoError | BSONError) -> BacktrailError:
    """The driver's error as one of ours."""
    if isinstance(error, DocumentTooLarge):
        return BadValue("a document would be larger than the 16 MB that MongoDB takes")
    if not isinstance(error, PyMongoError):
        return BadValue(f"MongoDB's driver cannot read or write one of the values ({type(error).__name__})")
    if isinstance(error, BulkWriteError):
        return _of_bulk(error)
    code = getattr(error, "code", None)
    if isinstance(error, OperationFailure) and code is not None:
        return _of_code(int(code), error.details or {}, error)
    if error.has_error_label("TransientTransactionError") or isinstance(
        error, (ConnectionFailure, AutoReconnect, ExecutionTimeout, WTimeoutError)
    ):
        return Retry(f"the connection to MongoDB was lost, or it does not answer ({type(error).__name__})")
    if isinstance(error, (ConfigurationError, InvalidURI)):
        return UnsuitableDatabase(
            f"database_url is not one that MongoDB's driver takes ({type(error).__name__}): see the options in it"
        )
    if isinstance(error, InvalidName):
        return UsageError(f"a name that no collection can have: {error}")
    return DatabaseFault(f"MongoDB's driver failed: {type(error).__name__}")


def _of_bulk(error: BulkWriteError) -> BacktrailError:
    details: Mapping[str, Any] = error.details or {}
    for one in (*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())):
        return _of_code(int(one.get("code", 0)), one, error)
    return DatabaseFault("MongoDB refused a write and did not say why")


def _of_code(code: int, details: Mapping[str, Any], error: PyMongoError) -> BacktrailError:
    if code in _CONTENDED:
        return Contended("somebody else is writing one of the documents")
    if code in _OUT_OF_CACHE:
        return TooLarge("the transaction does not fit into MongoDB's cache just now")
    if code in _AGAIN or error.has_error_label("TransientTransactionError"):
        return Retry(f"MongoDB could not do it just now (code {code}, {named(code, details)})")
    make = _MADE.get(code)
    if make is not None:
        return make(details)
    return DatabaseFault(f"MongoDB refused it: code {code}, {named(code, details)}")


def named(code: int, details: Mapping[str, Any]) -> str:
    """The code's name. The server leaves it out of the errors of single writes; most codes have no other than this one."""
    return str(details.get("codeName") or _NAMES.get(code) or f"Location{code}")


def _duplicate(details: Mapping[str, Any]) -> BacktrailError:
    index = re.search(r"collection: \S*?\.(\S+) index: (\S+)", str(details.get("errmsg", "")))
    where = f"unique index {index[2]} of {index[1]}" if index else "a unique index"
    fields = ", ".join(details.get("keyPattern", {}))
    return clash(f"{where}{f' ({fields})' if fields else ''} has that value already")


def _invalid(details: Mapping[str, Any]) -> BacktrailError:
    said = details.get("errInfo", {}).get("details", {})
    fields = ", ".join(dict.fromkeys(_fields(said)))
    return ConstraintFailed("a document fails its collection's validator" + (f": {fields}" if fields else ""))


def _fields(said: Any) -> Iterator[str]:
    """The names of fields in what the server says of a document that fails validation; it says their values too."""
    if isinstance(said, Mapping):
        if isinstance(said.get("propertyName"), str):
            yield said["propertyName"]
        missing = said.get("missingProperties")
        yield from (f"{name} is missing" for name in missing) if isinstance(missing, list) else ()
        yield from (
            name for key in ("details", "schemaRulesNotSatisfied", "propertiesNotSatisfied") for name in _fields(said.get(key))
        )
    elif isinstance(said, list):
        for one in said:
            yield from _fields(one)


def _not_storable(details: Mapping[str, Any]) -> BacktrailError:
    return BadValue(f"MongoDB cannot write it: {_NOT_STORABLE[int(details['code'])]}")


_Make = Callable[[Mapping[str, Any]], BacktrailError]
_MADE: dict[int, _Make] = {
    DUPLICATE: _duplicate,
    121: _invalid,
    **dict.fromkeys(
        DENIED, lambda _: PermissionMissing("the database user may not do this: grant it the role that docs/operations.md names")
    ),
    **dict.fromkeys(_REFUSED_LOGIN, lambda _: UnsuitableDatabase("MongoDB refuses the user or the password of database_url")),
    **dict.fromkeys(_FULL, lambda _: StorageFull("MongoDB has no room on its disk")),
    **dict.fromkeys(_TOO_LARGE, lambda _: BadValue("MongoDB cannot hold a value or document of this size or kind")),
    **dict.fromkeys(_NOT_STORABLE, _not_storable),
    **dict.fromkeys(
        _NOT_IN_TRANSACTION, lambda _: SchemaChanged("a view, capped or time-series collection, which no transaction can write")
    ),
    2: lambda _: BadValue("MongoDB finds one of its values wrong"),
    26: lambda _: SchemaChanged("a collection is gone"),
    66: lambda _: BadValue("_id cannot be changed"),
    13297: lambda _: UnsuitableDatabase("the server has a database whose name differs from the one of database_url only by case"),
}
