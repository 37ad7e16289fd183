//! Pairs that the kernel carries: what a loop does about them.

use super::kernel::Report;
use super::worker::Worker;

impl Worker {
    /// Takes what the kernel engine has to say.
    pub(super) fn take_reports(&mut self) {
        for report in self.dock.take_reports() {
            self.on_report(report);
        }
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Steered { pinhole, done } => self.steered(pinhole, done),
            Report::Carried { .. }
            | Report::Established { .. }
            | Report::Ended { .. }
            | Report::Counted { .. }
            | Report::Dropped { .. } => {}
        }
    }
}
