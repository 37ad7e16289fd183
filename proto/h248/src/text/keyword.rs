//! Keywords of the text encoding with their long and short spellings (RFC 3525 Annex B.2; versions 2
//! and 3 added some). Spellings are unique over the whole table, so one lookup serves every place;
//! what a word means is still decided by the place, because any of them may also be a name.

macro_rules! keywords {
    ($($name:ident = $long:literal $short:literal,)*) => {
        /// A keyword.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Keyword { $(
            #[doc = $long]
            $name,
        )* }

        const WORDS: &[(&str, &str, Keyword)] = &[$(($long, $short, Keyword::$name),)*];
    };
}

keywords! {
    Add = "Add" "A",
    Modify = "Modify" "MF",
    Subtract = "Subtract" "S",
    Move = "Move" "MV",
    AuditValue = "AuditValue" "AV",
    AuditCapability = "AuditCapability" "AC",
    Notify = "Notify" "N",
    ServiceChange = "ServiceChange" "SC",
    Transaction = "Transaction" "T",
    Reply = "Reply" "P",
    Pending = "Pending" "PN",
    TransactionResponseAck = "TransactionResponseAck" "K",
    Segment = "Segment" "SM",
    ImmAckRequired = "ImmAckRequired" "IA",
    Context = "Context" "C",
    ContextAudit = "ContextAudit" "CA",
    ContextAttr = "ContextAttr" "CT",
    ContextList = "ContextList" "CLT",
    Topology = "Topology" "TP",
    Priority = "Priority" "PR",
    Emergency = "Emergency" "EG",
    EmergencyOff = "EmergencyOff" "EGO",
    EmergencyValue = "EmergencyValue" "EGV",
    IepsCall = "IEPSCall" "IEPS",
    Media = "Media" "M",
    Stream = "Stream" "ST",
    LocalControl = "LocalControl" "O",
    Local = "Local" "L",
    Remote = "Remote" "R",
    TerminationState = "TerminationState" "TS",
    Mode = "Mode" "MO",
    SendOnly = "SendOnly" "SO",
    ReceiveOnly = "ReceiveOnly" "RC",
    SendReceive = "SendReceive" "SR",
    Inactive = "Inactive" "IN",
    Loopback = "Loopback" "LB",
    ReservedValue = "ReservedValue" "RV",
    ReservedGroup = "ReservedGroup" "RG",
    Events = "Events" "E",
    EventBuffer = "EventBuffer" "EB",
    Buffer = "Buffer" "BF",
    LockStep = "LockStep" "SP",
    ObservedEvents = "ObservedEvents" "OE",
    Signals = "Signals" "SG",
    SignalList = "SignalList" "SL",
    SignalType = "SignalType" "SY",
    Duration = "Duration" "DR",
    OnOff = "OnOff" "OO",
    TimeOut = "TimeOut" "TO",
    Brief = "Brief" "BR",
    NotifyCompletion = "NotifyCompletion" "NC",
    KeepActive = "KeepActive" "KA",
    Embed = "Embed" "EM",
    IntByEvent = "IntByEvent" "IBE",
    IntBySignals = "IntBySigDescr" "IBS",
    OtherReason = "OtherReason" "OR",
    Iteration = "Iteration" "IR",
    SpaDirection = "SPADirection" "SPADI",
    SpaRequestId = "SPARequestID" "SPARQ",
    IntersignalDelay = "Intersignal" "SPAIS",
    External = "External" "EX",
    Internal = "Internal" "IT",
    Both = "Both" "B",
    ImmediateNotify = "ImmediateNotify" "NBIN",
    RegulatedNotify = "RegulatedNotify" "NBRN",
    NeverNotify = "NeverNotify" "NBNN",
    ResetEventsDescriptor = "ResetEventsDescriptor" "RSE",
    DigitMap = "DigitMap" "DM",
    Statistics = "Statistics" "SA",
    Packages = "Packages" "PG",
    Audit = "Audit" "AT",
    Error = "Error" "ER",
    Services = "Services" "SV",
    Method = "Method" "MT",
    Reason = "Reason" "RE",
    Delay = "Delay" "DL",
    ServiceChangeAddress = "ServiceChangeAddress" "AD",
    MgcIdToTry = "MgcIdToTry" "MG",
    Profile = "Profile" "PF",
    Version = "Version" "V",
    ServiceChangeInc = "ServiceChangeInc" "SIC",
    Restart = "Restart" "RS",
    Forced = "Forced" "FO",
    Graceful = "Graceful" "GR",
    Failover = "Failover" "FL",
    HandOff = "HandOff" "HO",
    Disconnected = "Disconnected" "DC",
    ServiceStates = "ServiceStates" "SI",
    InService = "InService" "IV",
    OutOfService = "OutOfService" "OS",
    Test = "Test" "TE",
    Mux = "Mux" "MX",
    Modem = "Modem" "MD",
    Bothway = "Bothway" "BW",
    Isolate = "Isolate" "IS",
    Oneway = "Oneway" "OW",
    OnewayExternal = "OnewayExternal" "OWE",
    OnewayBoth = "OnewayBoth" "OWB",
    Authentication = "Authentication" "AU",
    On = "ON" "ON",
    Off = "OFF" "OFF",
    SynchIsdn = "SynchISDN" "SN",
    Nx64 = "Nx64Kservice" "N64",
    AndLogic = "ANDLgc" "ANDLgc",
    // How Erlang's megaco spells it. Read, never written.
    AndLogicMisspelt = "ANSLgc" "ANSLgc",
    OrLogic = "ORLgc" "ORLgc",
}

/// Slots of the lookup table: a power of two, more than four times the number of spellings.
const SLOTS: usize = 1_024;

/// A spelling's place in `WORDS`, twice, plus one if it is the short one, plus one; zero is a free slot.
/// Collisions go to the next slot.
static TABLE: [u16; SLOTS] = build();

/// Spreads words by length and by their first, middle and last letter. Empty words go to slot 0.
const fn slot(word: &[u8]) -> usize {
    let [first, .., last] = word else {
        return if word.len() == 1 { spread(word[0], word[0], word[0], 1) } else { 0 };
    };
    spread(*first, word[(word.len() - 1) / 2], *last, word.len())
}

const fn spread(first: u8, middle: u8, last: u8, length: usize) -> usize {
    let (a, b, c) = (first | 0x20, middle | 0x20, last | 0x20);
    (a as usize * 31 + b as usize * 197 + c as usize * 7 + length * 59) % SLOTS
}

const fn build() -> [u16; SLOTS] {
    let mut table = [0; SLOTS];
    let mut i = 0;
    while i < WORDS.len() {
        let (long, short, _) = WORDS[i];
        insert(&mut table, long.as_bytes(), 2 * i);
        insert(&mut table, short.as_bytes(), 2 * i + 1);
        i += 1;
    }
    table
}

const fn insert(table: &mut [u16; SLOTS], word: &[u8], index: usize) {
    let mut at = slot(word);
    while table[at] != 0 {
        at = (at + 1) % SLOTS;
    }
    table[at] = (index + 1) as u16;
}

impl Keyword {
    /// The keyword spelt so, in either form and any case.
    #[inline]
    pub(super) fn find(word: &[u8]) -> Option<Self> {
        let mut at = slot(word);
        loop {
            let index = usize::from(*TABLE.get(at)?).checked_sub(1)?;
            let (long, short, keyword) = WORDS.get(index / 2)?;
            let spelling = if index % 2 == 0 { long } else { short };
            if word.eq_ignore_ascii_case(spelling.as_bytes()) {
                return Some(*keyword);
            }
            at = (at + 1) % SLOTS;
        }
    }

    /// Whether it selects among events or signals of a name, where other words are parameters' names.
    pub(super) fn is_item_selector(self) -> bool {
        matches!(self, Self::Stream | Self::SpaRequestId)
    }

    /// The long spelling.
    #[inline]
    pub(super) fn long(self) -> &'static str {
        WORDS.get(self as usize).map_or("", |w| w.0)
    }

    /// The short spelling.
    #[inline]
    pub(super) fn short(self) -> &'static str {
        WORDS.get(self as usize).map_or("", |w| w.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_spelling_is_found_and_unique() {
        let mut seen = HashMap::new();
        for (long, short, keyword) in WORDS {
            assert_eq!(Keyword::find(long.to_uppercase().as_bytes()), Some(*keyword));
            assert_eq!(Keyword::find(short.to_lowercase().as_bytes()), Some(*keyword));
            assert_eq!((keyword.long(), keyword.short()), (*long, *short));
            for word in [long.to_lowercase(), short.to_lowercase()] {
                let before = seen.insert(word, *keyword);
                assert!(before.is_none_or(|k| k == *keyword));
            }
        }
        assert_eq!(Keyword::find(b""), None);
        assert_eq!(Keyword::find(b"ipdc/realm"), None);
    }
}
