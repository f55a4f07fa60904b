"""Drivers: each speaks to one kind of primary service, and only translates.

`base.py` has the Protocol that all of them satisfy; `tests/contract/` has one suite for all. No
driver sleeps, tries again, keeps a queue or decides anything: that is `trickle.py` with
`core/insertion.py`.
"""
