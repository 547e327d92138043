"""What `expand` is handed on MongoDB: operations that are only recorded, to be carried out one by one, and taken back.

MongoDB changes its schema outside of transactions. So what is to be done is written down first, every step can be done twice, and
whoever comes after a crash goes on where the record says that it ended.
"""

from backtrail.schema.documents.carry import perform, take_back
from backtrail.schema.documents.catalogue import Catalogue
from backtrail.schema.documents.declared import declared, unsaid
from backtrail.schema.documents.recorder import DocumentSchema, commands
from backtrail.schema.documents.rights import demand_rights
from backtrail.schema.documents.standing import demand_free, demand_ours, missing

__all__ = [
    "Catalogue",
    "DocumentSchema",
    "commands",
    "declared",
    "demand_free",
    "demand_ours",
    "demand_rights",
    "missing",
    "perform",
    "take_back",
    "unsaid",
]
