"""The three databases that the workload generates, each with its questions."""

from workloads.text2sql.domains.bank import BANK
from workloads.text2sql.domains.hospital import HOSPITAL
from workloads.text2sql.domains.shop import SHOP

__all__ = ["BANK", "DOMAINS", "HOSPITAL", "SHOP"]

DOMAINS = (SHOP, BANK, HOSPITAL)
