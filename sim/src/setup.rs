//! What a seed draws before the run begins: how big the world is, how its links behave, how much
//! goes wrong.

use crate::dice::Dice;
use crate::mutation::Mutation;
use carnet_h248::Encoding;
use carnet_h248::association::Transport;
use carnet_h248::text::Form;
use std::time::Duration;

/// Borders in the world.
pub const BORDERS: usize = 2;
/// Gateways in the world; each knows all borders.
pub const GATEWAYS: usize = 3;

/// How a link treats messages. Per mille.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noise {
    /// Lost.
    pub lost: u32,
    /// Arrives twice, the second up to [`Noise::late`] later.
    pub doubled: u32,
    /// Arrives up to [`Noise::late`] late, so that others overtake it.
    pub delayed: u32,
    /// The longest delay of those.
    pub late: Duration,
}

impl Noise {
    /// Nothing happens but a short and steady delay.
    pub const NONE: Self = Self { lost: 0, doubled: 0, delayed: 0, late: Duration::ZERO };
}

/// One run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where all of it comes from.
    pub seed: u64,
    /// What carries the control messages of each gateway.
    pub transports: [Transport; GATEWAYS],
    /// How each association is written.
    pub encodings: [Encoding; GATEWAYS],
    /// The borders know where their gateways are.
    pub peers_named: bool,
    /// A border that retires sends its gateways to the other.
    pub alternates: bool,
    /// Ports of one gateway.
    pub ports: usize,
    /// Calls that the users start during the chaos.
    pub calls: usize,
    /// Faults during the chaos.
    pub faults: usize,
    /// How control links behave during the chaos.
    pub noise: Noise,
    /// SIP datagrams lost during the chaos, per mille.
    pub sip_lost: u32,
    /// Things go wrong for so long.
    pub chaos: Duration,
    /// Everything works again for so long before sides are compared.
    pub calm: Duration,
    /// After all have hung up, time for what is left to be cleared.
    pub after: Duration,
    /// The heartbeat of terminations.
    pub heartbeat: Duration,
    /// Engines report connections that close or fall silent.
    pub restless: u32,
    /// What is broken on purpose, to see that it is found.
    pub mutation: Option<Mutation>,
}

impl Setup {
    /// What this seed draws.
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5e70_0000);
        let rough = dice.below(4);
        let transport =
            |dice: &mut Dice| dice.pick(&[Transport::Datagram, Transport::Datagram, Transport::Reliable]);
        let encoding = |dice: &mut Dice| {
            let text = Encoding::Text(Form::Short);
            dice.pick(&[text, text, text, Encoding::Text(Form::Long), Encoding::Binary])
        };
        let noise = Noise {
            lost: [0, 20, 100, 250][rough],
            doubled: [0, 20, 50, 150][rough],
            delayed: [0, 50, 100, 200][rough],
            late: Duration::from_millis([0, 300, 1500, 6000][rough]),
        };
        // Now and then there is a crowd.
        let crowd = dice.chance(50);
        Self {
            seed,
            transports: std::array::from_fn(|_| transport(&mut dice)),
            encodings: std::array::from_fn(|_| encoding(&mut dice)),
            peers_named: dice.chance(700),
            alternates: dice.chance(500),
            ports: if crowd { 600 } else { dice.pick(&[8, 40, 200]) },
            calls: if crowd { 400 } else { 10 + dice.below(60) },
            faults: dice.pick(&[0, 2, 4, 8, 20]),
            noise,
            sip_lost: dice.pick(&[0, 0, 20, 60]),
            chaos: Duration::from_secs(90),
            calm: Duration::from_secs(100),
            after: Duration::from_secs(200),
            heartbeat: Duration::from_secs(20),
            restless: dice.pick(&[0, 100]),
            mutation: None,
        }
    }

    /// The same with something broken.
    #[must_use]
    pub fn broken(mut self, mutation: Mutation) -> Self {
        self.mutation = Some(mutation);
        self
    }

    /// A world in which nothing goes wrong.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.noise = Noise::NONE;
        self.faults = 0;
        self.sip_lost = 0;
        self.restless = 0;
        self.ports = 400;
        self.transports = [Transport::Datagram; GATEWAYS];
        self
    }
}
