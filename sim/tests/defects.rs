//! Every check finds the defect it is there for: without that, runs that pass would prove nothing.

use carnet_sim::{Mutation, Setup, run};

/// Runs a world in which nothing goes wrong but one defect, and expects to hear of it.
#[track_caller]
fn finds(mutation: Mutation, words: &str) {
    let setup = Setup::new(5).quiet().broken(mutation);
    let report = run(setup);
    let found = report.violations.iter().any(|v| v.what.contains(words));
    assert!(found, "{mutation:?} was not found: {:#?}", report.violations);
    assert!(!report.story.is_empty());
}

#[test]
fn a_world_without_defects_and_faults_is_in_order() {
    for seed in 0..5 {
        let report = run(Setup::new(seed).quiet());
        assert!(report.violations.is_empty(), "{:#?}\n{}", report.violations, report.story);
        assert!(report.answered * 10 > report.calls * 6, "{} of {} answered", report.answered, report.calls);
        assert!(report.compared > 0 && report.rewritten > 0);
    }
}

#[test]
fn a_subtract_that_does_nothing_is_found() {
    finds(Mutation::SubtractNothing, "belongs to no live call");
    finds(Mutation::SubtractNothing, "is not idle");
}

#[test]
fn a_transaction_executed_twice_is_found() {
    finds(Mutation::AddTwice, "contexts of");
}

#[test]
fn a_context_that_nobody_asked_for_is_found() {
    finds(Mutation::Ghost, "belongs to no live call");
}

#[test]
fn a_port_that_is_not_given_back_is_found() {
    finds(Mutation::LeakPort, "ports are not back");
}

#[test]
fn a_call_without_an_answer_is_found() {
    finds(Mutation::SwallowAnswers, "has no answer");
}

#[test]
fn a_loss_that_nobody_is_told_of_is_found() {
    finds(Mutation::AnswerForTheDead, "has not told call");
}

#[test]
fn a_storm_is_found() {
    finds(Mutation::Repeat, "more than 40 times");
}

#[test]
fn strangers_and_repeats_that_are_believed_are_found() {
    finds(Mutation::BelieveEverybody, "a forgery changed");
    finds(Mutation::BelieveEverybody, "a replay from");
}
