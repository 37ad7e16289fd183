//! Keys are taken by the way each message came.

#![allow(clippy::unwrap_used)]

mod rig;

use carnet_h248::{MId, Transaction};
use rig::{Rig, fixture, read};

/// The error that a message with keys is answered with.
fn code(rig: &mut Rig, transaction: &str, protected: bool) -> u16 {
    let message = read(&fixture("22-mp-bfcp-psk-request").replace("Transaction = ", transaction));
    let refusal = match protected {
        true => rig.gateway.handle_protected(rig.now, message),
        false => rig.gateway.handle_message(rig.now, message),
    };
    assert_eq!(refusal, None);
    while let Some((_, message)) = rig.gateway.poll_transmit() {
        for transaction in message.transactions() {
            if let Transaction::Reply(reply) = transaction {
                return reply.body.first_error().unwrap().code;
            }
        }
    }
    panic!("no reply")
}

#[test]
fn one_protected_message_does_not_protect_the_next() {
    let mut rig = Rig::new(MId::domain("mrfc1.core.example"));
    assert_eq!(code(&mut rig, "Transaction = 1", false), 504);
    // Read, and refused for what is not built.
    assert_eq!(code(&mut rig, "Transaction = 2", true), 501);
    assert_eq!(code(&mut rig, "Transaction = 3", false), 504);
    rig.assert_empty();
}
