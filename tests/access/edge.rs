//! Terminals whose TLS ends at the access edge, and MSRP in networks that address it differently: real
//! processes on hosts of their own. The terminals are `terminal.py` with OpenSSL's programs beneath; they
//! share no code with Carnet.

mod aware;
mod call;
mod caps;
mod certificates;
mod rows;
mod secured;
mod stage;
