"""Rights of data subjects: withdrawals of rows, holds, and who received anything made from a row."""
