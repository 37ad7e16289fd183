//! What goes wrong: a list of faults, each at its time and for its time.

use crate::network::Direction;
use crate::setup::{BORDERS, GATEWAYS, Noise};
use crate::world::{Happening, World, border_name, gateway_name};
use carnet_h248::MId;
use std::time::Duration;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes one link.
    Partition { border: usize, gateway: usize },
    /// Nothing passes one way of a link.
    HalfCut { border: usize, gateway: usize, direction: Direction },
    /// A border is cut off from all gateways.
    Island { border: usize },
    /// A connection breaks.
    Break { border: usize, gateway: usize },
    /// A border crashes.
    BorderCrash { border: usize, loud: bool },
    /// A gateway crashes.
    GatewayCrash { gateway: usize, loud: bool },
    /// A border goes out of service in order.
    BorderRetires { border: usize },
    /// A gateway goes out of service in order.
    GatewayRetires { gateway: usize },
    /// An engine takes long.
    SlowEngine { gateway: usize },
    /// A gateway has more to do than it can.
    Overload { gateway: usize },
    /// An engine has no ports.
    FullEngine { gateway: usize },
    /// Many users call at once.
    Rush,
    /// A border hands a gateway to the other one.
    HandOff { border: usize, gateway: usize },
    /// An address of a gateway is gone from its host.
    InterfaceDown { gateway: usize, realm: &'static str },
    /// What has arrived arrives again.
    Replay,
    /// A stranger speaks.
    Forgery,
}

impl World {
    /// Chaos begins: links are noisy, faults and calls are planned.
    pub fn begin_chaos(&mut self) {
        let noise = self.setup.noise;
        for link in self.links.iter_mut().flatten() {
            link.noise = noise;
        }
        let chaos = self.setup.chaos;
        for _ in 0..self.setup.calls {
            let at = self.now + self.dice.between(Duration::ZERO, chaos);
            let longest =
                if self.dice.chance(500) { Duration::from_secs(600) } else { Duration::from_secs(60) };
            self.plan_call(at, longest);
        }
        if self.setup.mutation == Some(crate::Mutation::AnswerForTheDead) {
            for (gateway, share) in (0..GATEWAYS).zip(2..) {
                let fault = Fault::GatewayCrash { gateway, loud: false };
                self.at(self.now + chaos * share / 5, Happening::Fault(fault));
            }
        }
        if self.setup.mutation == Some(crate::Mutation::BelieveEverybody) {
            for second in (20..80).step_by(3) {
                let fault = if second % 2 == 0 { Fault::Forgery } else { Fault::Replay };
                self.at(self.now + Duration::from_secs(second), Happening::Fault(fault));
            }
        }
        for _ in 0..self.setup.faults {
            let at = self.now + self.dice.between(Duration::ZERO, chaos);
            let fault = self.any_fault();
            self.at(at, Happening::Fault(fault));
        }
    }

    fn any_fault(&mut self) -> Fault {
        let dice = &mut self.dice;
        let (border, gateway) = (dice.below(BORDERS), dice.below(GATEWAYS));
        let loud = dice.chance(700);
        match dice.below(21) {
            0 | 1 => Fault::Partition { border, gateway },
            2 => {
                let direction = dice.pick(&[Direction::Down, Direction::Up]);
                Fault::HalfCut { border, gateway, direction }
            }
            3 => Fault::Island { border },
            4 => Fault::Break { border, gateway },
            5 | 6 => Fault::BorderCrash { border, loud },
            7 | 8 => Fault::GatewayCrash { gateway, loud },
            9 => Fault::BorderRetires { border },
            10 => Fault::GatewayRetires { gateway },
            11 => Fault::SlowEngine { gateway },
            12 => Fault::FullEngine { gateway },
            13 | 14 => Fault::HandOff { border, gateway },
            15 | 16 => Fault::InterfaceDown { gateway, realm: dice.pick(&["access", "core"]) },
            17 => Fault::Replay,
            19 => Fault::Overload { gateway },
            18 => Fault::Forgery,
            _ => Fault::Rush,
        }
    }

    /// Something goes wrong now.
    pub fn fault(&mut self, fault: Fault) {
        if self.calm {
            return;
        }
        self.books.faults += 1;
        self.note(format!("FAULT {fault:?}"));
        let (least, most) = match fault {
            Fault::BorderCrash { .. } | Fault::GatewayCrash { .. } => (100, 20_000),
            _ => (500, 40_000),
        };
        let time = self.dice.between(Duration::from_millis(least), Duration::from_millis(most));
        match fault {
            Fault::Partition { border, gateway } => self.partition(border, gateway),
            Fault::HalfCut { border, gateway, direction } => self.set_cut(border, gateway, direction, true),
            Fault::Island { border } => (0..GATEWAYS).for_each(|g| self.partition(border, g)),
            Fault::Break { border, gateway } => self.break_stream(border, gateway, [true, true]),
            Fault::BorderCrash { border, loud } => self.end_border(border, loud),
            Fault::GatewayCrash { gateway, loud } => self.end_gateway(gateway, loud),
            Fault::BorderRetires { border } => self.retire_border(border, time / 2),
            Fault::GatewayRetires { gateway } => self.retire_gateway(gateway, time / 2),
            Fault::SlowEngine { gateway } => self.set_engine(gateway, Some(time / 10), 0),
            Fault::FullEngine { gateway } => {
                let refuses = self.dice.pick(&[300, 1000]);
                self.set_engine(gateway, None, refuses);
            }
            Fault::HandOff { border, gateway } => self.hand_off(border, gateway),
            Fault::InterfaceDown { gateway, realm } => {
                if let Some(life) = &mut self.gateways[gateway].life {
                    life.gateway.interface_down(self.now, realm, 906);
                }
                self.flush_gateway(gateway);
            }
            Fault::Overload { gateway } => self.set_load(gateway, 97),
            Fault::Replay => self.replay(),
            Fault::Forgery => self.forge(),
            Fault::Rush => {
                for _ in 0..20 {
                    let at = self.now + self.dice.between(Duration::ZERO, Duration::from_millis(300));
                    self.plan_call(at, Duration::from_secs(20));
                }
            }
        }
        self.at(self.now + time, Happening::Mend(fault));
    }

    /// It is right again.
    pub fn mend(&mut self, fault: Fault) {
        match fault {
            Fault::Partition { border, gateway } => self.unite(border, gateway),
            Fault::HalfCut { border, gateway, direction } => self.set_cut(border, gateway, direction, false),
            Fault::Island { border } => (0..GATEWAYS).for_each(|g| self.unite(border, g)),
            Fault::BorderCrash { border, .. } => self.start_border(border),
            Fault::GatewayCrash { gateway, .. } => self.start_gateway(gateway),
            Fault::SlowEngine { gateway } | Fault::FullEngine { gateway } => {
                self.set_engine(gateway, None, 0);
            }
            Fault::Overload { gateway } => self.set_load(gateway, 10),
            Fault::InterfaceDown { gateway, realm } => self.interface_up(gateway, realm),
            Fault::Break { .. }
            | Fault::BorderRetires { .. }
            | Fault::GatewayRetires { .. }
            | Fault::HandOff { .. }
            | Fault::Replay
            | Fault::Forgery
            | Fault::Rush => {}
        }
    }

    /// Everything works again.
    pub fn end_chaos(&mut self) {
        self.calm = true;
        self.note("CALM".to_owned());
        for border in 0..BORDERS {
            for gateway in 0..GATEWAYS {
                self.links[border][gateway].noise = Noise::NONE;
                self.unite(border, gateway);
            }
            self.start_border(border);
        }
        for gateway in 0..GATEWAYS {
            self.set_engine(gateway, None, 0);
            if let Some(life) = &mut self.gateways[gateway].life {
                life.engine.restless = 0;
            }
            self.start_gateway(gateway);
            self.interface_up(gateway, "access");
            self.interface_up(gateway, "core");
            self.set_load(gateway, 10);
        }
    }

    fn set_load(&mut self, gateway: usize, percent: u32) {
        if let Some(life) = &mut self.gateways[gateway].life {
            life.gateway.set_load(self.now, percent);
        }
        self.flush_gateway(gateway);
    }

    fn interface_up(&mut self, gateway: usize, realm: &str) {
        if let Some(life) = &mut self.gateways[gateway].life {
            life.gateway.interface_up(self.now, realm);
        }
        self.flush_gateway(gateway);
    }

    fn partition(&mut self, border: usize, gateway: usize) {
        if self.links[border][gateway].is_cut() {
            return;
        }
        for direction in [Direction::Down, Direction::Up] {
            self.set_cut(border, gateway, direction, true);
        }
        if self.dice.chance(300) {
            self.break_stream(border, gateway, [true, true]);
        }
        self.gateway_is_away(border, gateway, true);
    }

    fn unite(&mut self, border: usize, gateway: usize) {
        for direction in [Direction::Down, Direction::Up] {
            self.set_cut(border, gateway, direction, false);
        }
    }

    fn set_engine(&mut self, gateway: usize, slow: Option<Duration>, refuses: u32) {
        if let Some(life) = &mut self.gateways[gateway].life {
            life.engine.delay = (Duration::ZERO, slow.unwrap_or(Duration::from_millis(2)));
            life.engine.refuses = refuses;
        }
    }

    fn hand_off(&mut self, border: usize, gateway: usize) {
        let to = MId::domain(border_name((border + 1) % BORDERS));
        if let Some(machine) = &mut self.borders[border].life {
            machine.hand_off(self.now, &gateway_name(gateway), to);
        }
        self.flush_border(border);
    }

    // -- in order --------------------------------------------------------------------------

    fn retire_gateway(&mut self, gateway: usize, grace: Duration) {
        let Some(life) = &mut self.gateways[gateway].life else { return };
        life.gateway.retire(self.now, 905, grace);
        let number = life.number;
        self.at(self.now + grace, Happening::LeaveGateway { gateway, life: number });
        self.flush_gateway(gateway);
    }

    /// Its time is over: it leaves, whoever is on it.
    pub fn leave_gateway(&mut self, gateway: usize, number: u32) {
        let stays = self.dice.chance(200);
        let Some(life) = self.gateways[gateway].life.as_mut().filter(|l| l.number == number) else { return };
        if stays {
            life.gateway.resume(self.now);
            self.note(format!("gateway{gateway} stays after all"));
            return self.flush_gateway(gateway);
        }
        life.gateway.leave(self.now, 905);
        self.note(format!("gateway{gateway} leaves"));
        self.flush_gateway(gateway);
        let again = self.dice.chance(300);
        let wait = self.dice.between(Duration::from_secs(1), Duration::from_secs(5));
        self.at(self.now + wait, Happening::EndGateway { gateway, life: number, again });
    }

    /// It is gone, or starts again as it is.
    pub fn replace_gateway(&mut self, gateway: usize, number: u32, again: bool) {
        let now = self.now;
        let Some(life) = self.gateways[gateway].life.as_mut().filter(|l| l.number == number) else { return };
        if again {
            life.gateway.start(now, 900);
            self.note(format!("gateway{gateway} starts again as it is"));
            return self.flush_gateway(gateway);
        }
        self.end_gateway(gateway, true);
        self.start_gateway(gateway);
    }

    /// A border that retires ends the calls it still has.
    pub fn end_calls(&mut self, border: usize, number: u32) {
        let node = &mut self.borders[border];
        if node.lives == number
            && let Some(machine) = &mut node.life
        {
            machine.end_calls(self.now);
        }
        self.flush_border(border);
    }

    /// A border that retired is gone, and the next one is there.
    pub fn replace_border(&mut self, border: usize, number: u32) {
        if self.borders[border].lives == number && self.borders[border].life.is_some() {
            self.end_border(border, true);
            self.start_border(border);
        }
    }
}
