//! IMS-ALG and IBCF: the plan for an offer, the call across a border.
