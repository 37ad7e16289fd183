//! Defects made on purpose: a check that finds none of them would check nothing.

/// One defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Gateways answer Subtract and do not do it.
    SubtractNothing,
    /// A gateway executes one Add twice.
    AddTwice,
    /// An engine gives one port not back.
    LeakPort,
    /// Final responses to INVITE do not reach callers.
    SwallowAnswers,
    /// Somebody answers the heartbeats of dead gateways.
    AnswerForTheDead,
    /// Every message is sent a hundred times.
    Repeat,
    /// Borders believe whoever names himself after a gateway, and repeats count as new.
    BelieveEverybody,
    /// A gateway has a context that nobody asked for and that never asks whether it is wanted.
    Ghost,
}
