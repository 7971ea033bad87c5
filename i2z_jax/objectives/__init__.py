# SPDX-License-Identifier: Apache-2.0
"""What each stage minimises: weights x reduced loss terms -> scalar and metrics.

An objective is a pure function of networks, a batch of arrays and its weights; how
networks are split into trained and frozen is the business of `train`. Batches are
dictionaries with the field names of `data/records.py`; images come as uint8.
"""
