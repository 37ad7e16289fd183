-- MIKEY-TICKET (RFC 6043) for Wireshark and tshark 3.6 and later.
--
-- Wireshark knows the payloads of RFC 3830, and not those of RFC 6043: TR, IDR with its roles, RANDR, TP and TICKET.
-- This reads them all, in `a=key-mgmt:mikey` of any description (SIP, H.248, RTSP), in bodies of type
-- application/mikey, and by "Decode As". Names follow the members that `carnet inspect mikey` prints.
--
-- Nothing is decrypted. A payload type, or an algorithm that decides a length, that is not known makes the rest
-- unreadable, since payloads have no length in common (RFC 3830 §6.1); that is said as expert information.

local mikey = Proto("mikey_ticket", "MIKEY-TICKET")

-- ---------------------------------------------------------------------------------------------- registries

local data_types = {
  [0] = "PSK_INIT", "PSK_RESP", "PK_INIT", "PK_RESP", "DH_INIT", "DH_RESP", "ERROR", "DHHMAC_INIT", "DHHMAC_RESP",
  "RSA_R_I_MSG", "RSA_R_R_MSG", "REQUEST_INIT_PSK", "REQUEST_INIT_PK", "REQUEST_RESP", "TRANSFER_INIT",
  "TRANSFER_RESP", "RESOLVE_INIT_PSK", "RESOLVE_INIT_PK", "RESOLVE_RESP", "REQUEST_KEY_PSK", "REQUEST_KEY_PKE",
  "REQUEST_KEY_RESP", "IBAKE_I_MESSAGE_1", "IBAKE_R_MESSAGE_1", "IBAKE_I_MESSAGE_2", "IBAKE_R_MESSAGE_2", "SAKKE",
}

local payload_types = {
  [0] = "LAST", "KEMAC", "PKE", "DH", "SIGN", "T", "ID", "CERT", "CHASH", "V", "SP", "RAND", "ERR", "TR", "IDR",
  "RANDR", "TP", "TICKET", [20] = "KEY_DATA", [21] = "GENERAL_EXT", [22] = "IBAKE", [23] = "ESK", [24] = "SK",
  [25] = "ECCPT", [26] = "SAKKE",
}

local id_roles = {
  "initiator", "responder", "kms", "psk", "application", "kms-of-initiator", "kms-of-responder",
  "initiator-uid", "responder-uid",
}

local time_roles = { "issue", "start", "end", "rekey-interval" }
local encr_algs = { [0] = "NULL", "AES-CM-128", "AES-KW-128", "AES-CM-256" }
local mac_algs = { [0] = "NULL", "HMAC-SHA-1-160", "HMAC-SHA-256-256" }
local mac_lengths = { [0] = 0, 20, 32 }
local ts_types = { [0] = "NTP-UTC", "NTP", "COUNTER", "NTP-UTC-32" }
local ts_lengths = { [0] = 8, 8, 4, 4 }
local id_types = { [0] = "NAI", "URI", "byte string" }
local hashes = { [0] = "SHA-1", "MD5", "SHA-256" }
local hash_lengths = { [0] = 20, 16, 32 }
local groups = { [0] = "OAKLEY 5", "OAKLEY 1", "OAKLEY 2" }
local group_lengths = { [0] = 192, 96, 128 }
local sign_types = { [0] = "RSA PKCS#1 v1.5", "RSA PSS", "ECCSI" }
local cert_types = { [0] = "X.509v3", "X.509v3 URL", "X.509v3 SIGN", "X.509v3 ENCR" }
local map_types = { [0] = "SRTP-ID", "empty", "GENERIC-ID" }
local ext_types = { [0] = "Vendor ID", "SDP IDs" }
local ticket_types = { "MIKEY base ticket", "3GPP base ticket" }
local key_types = { [0] = "TGK", "TGK+SALT", "TEK", "TEK+SALT", "GTGK", "GTGK+SALT", "MPK", "K_PR" }
local error_names = {
  [0] = "authentication failure", "invalid timestamp", "PRF function not supported", "MAC algorithm not supported",
  "encryption algorithm not supported", "hash function not supported", "Diffie-Hellman group not supported",
  "identity not supported", "certificate not supported", "security protocol not supported",
  "security protocol parameters not supported", "data type not supported", "unspecified error",
  "message type not supported", "ticket type not supported", "ticket policy not supported",
}

-- ---------------------------------------------------------------------------------------------- fields

local f = mikey.fields
local function field(name, make, title, ...)
  f[name] = make("mikey_ticket." .. name, title, ...)
end

field("version", ProtoField.uint8, "Version")
field("data_type", ProtoField.uint8, "Data type", base.DEC, data_types)
field("next_payload", ProtoField.uint8, "Next payload", base.DEC, payload_types)
field("v", ProtoField.bool, "V flag", 8, nil, 0x80)
field("prf", ProtoField.uint8, "PRF function", base.DEC, nil, 0x7f)
field("csb_id", ProtoField.uint32, "CSB ID", base.HEX)
field("cs_count", ProtoField.uint8, "Number of crypto sessions")
field("map_type", ProtoField.uint8, "CS ID map type", base.DEC, map_types)
field("cs", ProtoField.none, "Crypto session")
field("cs_id", ProtoField.uint8, "CS ID")
field("protocol", ProtoField.uint8, "Security protocol")
field("s", ProtoField.bool, "S flag", 8, nil, 0x80)
field("policies", ProtoField.uint8, "Number of policies", base.DEC, nil, 0x7f)
field("policy", ProtoField.uint8, "Policy number")
field("session_data", ProtoField.bytes, "Session data")
field("spi", ProtoField.bytes, "SPI")
field("ssrc", ProtoField.uint32, "SSRC", base.HEX)
field("roc", ProtoField.uint32, "Rollover counter")
field("payload", ProtoField.none, "Payload")
field("type", ProtoField.uint8, "Payload type", base.DEC, payload_types)
field("encr_alg", ProtoField.uint8, "Encryption algorithm", base.DEC, encr_algs)
field("encr_data_len", ProtoField.uint16, "Length of encrypted data")
field("encr_data", ProtoField.bytes, "Encrypted data")
field("mac_alg", ProtoField.uint8, "MAC algorithm", base.DEC, mac_algs)
field("auth_alg", ProtoField.uint8, "Authentication algorithm", base.DEC, mac_algs)
field("mac", ProtoField.bytes, "MAC")
field("key_type", ProtoField.uint8, "Key type", base.DEC, key_types, 0xf0)
field("key_validity", ProtoField.uint8, "Key validity", base.DEC, nil, 0x0f)
field("key_len", ProtoField.uint16, "Length of key")
field("cache", ProtoField.uint16, "Cache", base.DEC, nil, 0xc000)
field("data_len", ProtoField.uint16, "Length of data")
field("pke_len", ProtoField.uint16, "Length of data", base.DEC, nil, 0x3fff)
field("data", ProtoField.bytes, "Data")
field("group", ProtoField.uint8, "Diffie-Hellman group", base.DEC, groups)
field("value", ProtoField.bytes, "Value")
field("sign_type", ProtoField.uint16, "Signature type", base.DEC, sign_types, 0xf000)
field("sign_len", ProtoField.uint16, "Length of signature", base.DEC, nil, 0x0fff)
field("signature", ProtoField.bytes, "Signature")
field("ts_type", ProtoField.uint8, "Timestamp type", base.DEC, ts_types)
field("ts_value", ProtoField.bytes, "Timestamp")
field("time", ProtoField.absolute_time, "Time", base.UTC)
field("id_type", ProtoField.uint8, "Identity type", base.DEC, id_types)
field("id_len", ProtoField.uint16, "Length of identity")
field("id", ProtoField.string, "Identity")
field("id_data", ProtoField.bytes, "Identity octets")
field("cert_type", ProtoField.uint8, "Certificate type", base.DEC, cert_types)
field("certificate", ProtoField.bytes, "Certificate")
field("hash", ProtoField.uint8, "Hash function", base.DEC, hashes)
field("sp_number", ProtoField.uint8, "Policy number")
field("sp_protocol", ProtoField.uint8, "Security protocol")
field("parameters", ProtoField.bytes, "Parameters")
field("rand_len", ProtoField.uint8, "Length of random octets")
field("rand", ProtoField.bytes, "Random octets")
field("error", ProtoField.uint8, "Error number", base.DEC, error_names)
field("reserved", ProtoField.uint16, "Reserved")
field("time_role", ProtoField.uint8, "Role of timestamp", base.DEC, time_roles)
field("id_role", ProtoField.uint8, "Role of identity", base.DEC, id_roles)
field("rand_role", ProtoField.uint8, "Role of random octets", base.DEC, id_roles)
field("ticket_type", ProtoField.uint16, "Ticket type", base.DEC, ticket_types)
field("subtype", ProtoField.uint8, "Ticket subtype")
field("ticket_version", ProtoField.uint8, "Ticket version")
field("ticket_prf", ProtoField.uint8, "PRF function", base.DEC, nil, 0xfe)
field("flags", ProtoField.string, "Flags")
field("tp_data", ProtoField.none, "TP data")
field("ticket_data_len", ProtoField.uint16, "Length of ticket data")
field("ticket_data", ProtoField.none, "Ticket data")
field("initiator_data_len", ProtoField.uint16, "Length of initiator data")
field("initiator_data", ProtoField.bytes, "Initiator data")
field("ext_type", ProtoField.uint8, "Extension type", base.DEC, ext_types)
field("ext_data", ProtoField.bytes, "Extension data")
field("ext_text", ProtoField.string, "Extension text")

local malformed =
  ProtoExpert.new("mikey_ticket.malformed", "Not a message of MIKEY", expert.group.MALFORMED, expert.severity.ERROR)
local unsupported =
  ProtoExpert.new("mikey_ticket.unsupported", "Not known, and what follows cannot be read", expert.group.UNDECODED, expert.severity.WARN)
local contradiction =
  ProtoExpert.new("mikey_ticket.contradiction", "Flags contradict each other", expert.group.PROTOCOL, expert.severity.WARN)
local refused =
  ProtoExpert.new("mikey_ticket.refused", "The message is an error", expert.group.RESPONSE_CODE, expert.severity.NOTE)
local open_key =
  ProtoExpert.new("mikey_ticket.open_key", "Keys that nothing encrypts", expert.group.SECURITY, expert.severity.WARN)
mikey.experts = { malformed, unsupported, contradiction, refused, open_key }

-- ---------------------------------------------------------------------------------------------- reading

-- A place in octets. What is not there is an error that says where and what; `pcall` below turns it into
-- expert information.
local Cursor = {}
Cursor.__index = Cursor

local function cursor(tvb, from, to)
  return setmetatable({ tvb = tvb, at = from, stop = to }, Cursor)
end

local function fault(expert_info, at, text)
  error({ info = expert_info, at = at, text = text }, 0)
end

function Cursor:take(count, what)
  if self.at + count > self.stop then
    fault(malformed, self.at, "expected " .. what)
  end
  local range = nil
  if count > 0 then
    range = self.tvb(self.at, count)
  end
  self.at = self.at + count
  return range
end

-- A number of `count` octets, shown as `name`.
function Cursor:number(tree, name, count, what)
  local range = self:take(count, what)
  tree:add(f[name], range)
  return range:uint(), range
end

-- Octets behind their length.
function Cursor:sized(tree, length_name, name, count, what)
  local length = self:number(tree, length_name, count, "the length of " .. what)
  local range = self:take(length, what)
  if range and name then
    tree:add(f[name], range)
  end
  return range, length
end

local function known(names, lengths, number, at, what)
  if not lengths[number] then
    fault(unsupported, at, what .. " " .. number .. " is not known, and decides how long the payload is")
  end
  return lengths[number]
end

-- RFC 3830 §6.6, RFC 6043 §6.3. NTP seconds without their top bit are of the era that begins in 2036 (RFC 4330 §3).
local function timestamp(c, tree)
  local at = c.at
  local kind = c:number(tree, "ts_type", 1, "a timestamp type")
  local range = c:take(known(ts_types, ts_lengths, kind, at, "timestamp type"), "a timestamp")
  tree:add(f.ts_value, range)
  if kind == 2 then
    return
  end
  local seconds = range(0, 4):uint()
  if seconds < 0x80000000 then
    seconds = seconds + 0x100000000
  end
  local fraction = 0
  if range:len() == 8 then
    fraction = math.floor(range(4, 4):uint() * 1000000000 / 0x100000000)
  end
  if seconds >= 2208988800 then
    tree:add(f.time, range, NSTime.new(seconds - 2208988800, fraction))
  end
end

local function printable(range)
  local text = range:raw()
  return not text:find("[%z\1-\31\127]")
end

-- RFC 3830 §6.7, RFC 6043 §6.5.
local function identity(c, tree)
  c:number(tree, "id_type", 1, "an identity type")
  local range = c:sized(tree, "id_len", "id_data", 2, "an identity")
  if range and printable(range) then
    tree:add(f.id, range)
    return range:string()
  end
end

local function mac(c, tree, name)
  local at = c.at
  local kind = c:number(tree, name, 1, "a MAC algorithm")
  local range = c:take(known(mac_algs, mac_lengths, kind, at, "MAC algorithm"), "a MAC as long as its algorithm says")
  if range then
    tree:add(f.mac, range)
  end
end

local function validity(c, kind, at)
  if kind == 1 then
    local length = c:take(1, "a key validity length"):uint()
    c:take(length, "an SPI")
  elseif kind == 2 then
    for _ = 1, 2 do
      local length = c:take(1, "a key validity length"):uint()
      c:take(length, "a key validity interval")
    end
  elseif kind ~= 0 then
    fault(unsupported, at, "key validity type " .. kind .. " is not known")
  end
end

-- Keys in a KEMAC that encrypts nothing (RFC 3830 §6.13). Of the keys only their lengths are shown.
local function keys(c, tree)
  repeat
    local next = c:take(1, "a payload type"):uint()
    local at = c.at
    local kinds = c:take(1, "a key type")
    tree:add(f.key_type, kinds)
    tree:add(f.key_validity, kinds)
    local kind, validity_kind = math.floor(kinds:uint() / 16), kinds:uint() % 16
    local length = c:number(tree, "key_len", 2, "a key length")
    local key = c:take(length, "a key")
    if key and key:raw():find("[^%z]") then
      tree:add_proto_expert_info(open_key)
    end
    if kind == 1 or kind == 3 or kind == 5 then
      local salt = c:take(2, "a salt length"):uint()
      c:take(salt, "a salt")
    end
    validity(c, validity_kind, at)
  until next == 0
end

local chain

-- D to O, the lowest bit of the fifth octet and eleven bits behind it (RFC 6043 §6.10).
local function flags(range)
  local bits = (range(0, 1):uint() % 2) * 65536 + range(1, 2):uint()
  local letters = {}
  for i = 0, 11 do
    if math.floor(bits / 2 ^ (16 - i)) % 2 == 1 then
      letters[#letters + 1] = ("DEFGHIJKLMNO"):sub(i + 1, i + 1)
    end
  end
  return table.concat(letters)
end

local function contradictions(letters)
  local function has(letter)
    return letters:find(letter, 1, true) ~= nil
  end
  if not has("D") and not has("L") then return "an initiator's own ticket needs flag L" end
  if has("G") and not has("F") then return "flag G needs F" end
  if not has("G") and not has("H") then return "one of G and H must be set" end
  if has("I") and not has("E") then return "flag I needs E" end
  if has("K") and not has("D") then return "flag K needs D" end
  if has("M") and not has("F") then return "flag M needs F" end
  if has("I") and not has("F") then return "key forking of a TGK needs flag F" end
end

local function policy(c, tree, depth)
  if depth > 0 then
    fault(unsupported, c.at, "a ticket inside a ticket")
  end
  c:number(tree, "ticket_type", 2, "a ticket type")
  c:number(tree, "subtype", 1, "a ticket subtype")
  c:number(tree, "ticket_version", 1, "a ticket version")
  local range = c:take(3, "a PRF number and flags")
  tree:add(f.ticket_prf, range(0, 1))
  local letters = flags(range)
  local shown = tree:add(f.flags, range, letters)
  local why = contradictions(letters)
  if why then
    shown:add_proto_expert_info(contradiction, why)
  end
  local length = c:take(2, "the length of TP data"):uint()
  local octets = c:take(length, "TP data")
  if not octets then
    fault(malformed, c.at, "expected the first payload type of TP data")
  end
  local inner = cursor(c.tvb, c.at - length, c.at)
  local branch = tree:add(f.tp_data, octets)
  local first = inner:number(branch, "next_payload", 1, "the first payload type of TP data")
  chain(inner, branch, first, depth + 1)
end

-- RFC 6043 appendix A.3: what a ticket shows to one who has no key.
local function ticket_data(c, tree)
  local first = c:number(tree, "next_payload", 1, "the payload type in a ticket header")
  local length = c:take(2, "a ticket header length"):uint()
  c:take(length, "a ticket header")
  chain(c, tree, first, 1)
end

local read = {}

read[1] = function(c, tree)
  local encr_alg = c:number(tree, "encr_alg", 1, "an encryption algorithm")
  local range, length = c:sized(tree, "encr_data_len", nil, 2, "encrypted key data")
  if encr_alg == 0 and range then
    keys(cursor(c.tvb, c.at - length, c.at), tree)
  elseif range then
    tree:add(f.encr_data, range)
  end
  mac(c, tree, "mac_alg")
end
read[2] = function(c, tree)
  local head = c:take(2, "cache flags and a length")
  tree:add(f.cache, head)
  tree:add(f.pke_len, head)
  local range = c:take(head:uint() % 0x4000, "an encrypted envelope key")
  if range then
    tree:add(f.data, range)
  end
end
read[3] = function(c, tree)
  local at = c.at
  local group = c:number(tree, "group", 1, "a Diffie-Hellman group")
  tree:add(f.value, c:take(known(groups, group_lengths, group, at, "Diffie-Hellman group"), "a Diffie-Hellman value"))
  at = c.at
  validity(c, c:take(1, "a key validity type"):uint() % 16, at)
end
read[5] = function(c, tree)
  timestamp(c, tree)
end
read[6] = function(c, tree)
  return identity(c, tree)
end
read[7] = function(c, tree)
  c:number(tree, "cert_type", 1, "a certificate type")
  c:sized(tree, "data_len", "certificate", 2, "a certificate")
end
read[8] = function(c, tree)
  local at = c.at
  local hash = c:number(tree, "hash", 1, "a hash function")
  tree:add(f.value, c:take(known(hashes, hash_lengths, hash, at, "hash function"), "a certificate hash"))
end
read[9] = function(c, tree)
  mac(c, tree, "auth_alg")
end
read[10] = function(c, tree)
  c:number(tree, "sp_number", 1, "a policy number")
  c:number(tree, "sp_protocol", 1, "a security protocol type")
  c:sized(tree, "data_len", "parameters", 2, "policy parameters")
end
read[11] = function(c, tree)
  c:sized(tree, "rand_len", "rand", 1, "random octets")
end
read[12] = function(c, tree)
  c:number(tree, "error", 1, "an error number")
  c:number(tree, "reserved", 2, "two reserved octets")
  tree:add_proto_expert_info(refused)
end
read[13] = function(c, tree)
  local role = c:number(tree, "time_role", 1, "a timestamp role")
  timestamp(c, tree)
  return time_roles[role]
end
read[14] = function(c, tree)
  local role = c:number(tree, "id_role", 1, "an identity role")
  local text = identity(c, tree)
  return (id_roles[role] or role) .. " " .. (text or "")
end
read[15] = function(c, tree)
  local role = c:number(tree, "rand_role", 1, "a random number role")
  c:sized(tree, "rand_len", "rand", 1, "random octets")
  return id_roles[role]
end
read[16] = function(c, tree, depth)
  policy(c, tree, depth)
end
read[17] = function(c, tree, depth)
  policy(c, tree, depth)
  local length = c:number(tree, "ticket_data_len", 2, "the length of ticket data")
  local octets = c:take(length, "ticket data")
  if octets then
    local branch = tree:add(f.ticket_data, octets)
    -- What is inside is of the ticket's type; what cannot be read is no fault of the message.
    local fine, problem = pcall(ticket_data, cursor(c.tvb, c.at - length, c.at), branch)
    if not fine then
      branch:append_text(": not read (" .. (type(problem) == "table" and problem.text or problem) .. ")")
    end
  end
  c:sized(tree, "initiator_data_len", "initiator_data", 2, "initiator data")
end
read[21] = function(c, tree)
  c:number(tree, "ext_type", 1, "an extension type")
  local range = c:sized(tree, "data_len", "ext_data", 2, "extension data")
  if range and printable(range) then
    tree:add(f.ext_text, range)
    return range:string()
  end
end

-- Payloads one after the other; each names the next.
chain = function(c, tree, first, depth)
  local this, count = first, 0
  while this ~= 0 do
    count = count + 1
    if count > 256 then
      fault(malformed, c.at, "more payloads than anybody sends")
    end
    local start = c.at
    local name = payload_types[this] or ("type " .. this)
    local branch = tree:add(f.payload, c.tvb(math.min(start, c.tvb:len() - 1)))
    branch:set_text(name)
    branch:add(f.type, this):set_generated()
    local next = 0
    if this == 4 then
      -- RFC 3830 §6.5: the only payload without a Next payload octet.
      local head = c:take(2, "a signature type and length")
      branch:add(f.sign_type, head)
      branch:add(f.sign_len, head)
      local range = c:take(head:uint() % 0x1000, "a signature")
      if range then
        branch:add(f.signature, range)
      end
    else
      next = c:number(branch, "next_payload", 1, "a payload type")
      if not read[this] then
        fault(unsupported, start, "payload type " .. this .. " is not read here")
      end
      local said = read[this](c, branch, depth)
      if said then
        branch:append_text(": " .. said)
      end
    end
    branch:set_len(c.at - start)
    this = next
  end
  if c.at < c.stop then
    fault(malformed, c.at, "nothing may follow the last payload")
  end
end

local function header(c, tree)
  local version, range = c:number(tree, "version", 1, "a version")
  if version ~= 1 then
    fault(unsupported, 0, "version " .. version .. "; MIKEY has version 1")
  end
  local kind = c:number(tree, "data_type", 1, "a data type")
  local next = c:number(tree, "next_payload", 1, "a payload type")
  range = c:take(1, "the V flag and PRF number")
  tree:add(f.v, range)
  tree:add(f.prf, range)
  c:number(tree, "csb_id", 4, "a CSB ID of four octets")
  local count = c:number(tree, "cs_count", 1, "a number of crypto sessions")
  local at = c.at
  local map = c:number(tree, "map_type", 1, "a CS ID map type")
  if map == 0 or map == 2 then
    for _ = 1, count do
      local start = c.at
      local branch = tree:add(f.cs, c.tvb(math.min(start, c.tvb:len() - 1)))
      if map == 0 then
        c:number(branch, "policy", 1, "a policy number")
        c:number(branch, "ssrc", 4, "an SSRC")
        c:number(branch, "roc", 4, "a rollover counter")
      else
        c:number(branch, "cs_id", 1, "a CS ID")
        c:number(branch, "protocol", 1, "a security protocol type")
        local head = c:take(1, "the S flag and number of policies")
        branch:add(f.s, head)
        branch:add(f.policies, head)
        for _ = 1, head:uint() % 0x80 do
          c:number(branch, "policy", 1, "policy numbers")
        end
        local length = c:take(2, "a session data length"):uint()
        local octets = c:take(length, "session data")
        if octets then
          branch:add(f.session_data, octets)
        end
        length = c:take(1, "an SPI length"):uint()
        octets = c:take(length, "an SPI")
        if octets then
          branch:add(f.spi, octets)
        end
      end
      branch:set_len(c.at - start)
    end
  elseif map ~= 1 then
    fault(unsupported, at, "CS ID map type " .. map .. " is not known")
  end
  return kind, next
end

function mikey.dissector(tvb, pinfo, root)
  local tree = root:add(mikey, tvb())
  local kind
  local fine, problem = pcall(function()
    local c = cursor(tvb, 0, tvb:len())
    local next
    kind, next = header(c, tree)
    tree:append_text(" " .. (data_types[kind] or ("type " .. kind)))
    chain(c, tree, next, 0)
  end)
  if not fine then
    if type(problem) ~= "table" then
      problem = { info = malformed, at = 0, text = tostring(problem) }
    end
    tree:add_proto_expert_info(problem.info, "octet " .. problem.at .. ": " .. problem.text)
  end
  return tvb:len()
end

-- ---------------------------------------------------------------------------------------------- where it stands

-- In a description: after everything else was read, so that every protocol that carries SDP is covered.
local attributes = { Field.new("sdp.media_attr"), Field.new("sdp.session_attr") }
local in_sdp = Proto("mikey_ticket_sdp", "MIKEY-TICKET in SDP")

function in_sdp.dissector(_, pinfo, root)
  for _, attribute in ipairs(attributes) do
    for _, found in ipairs({ attribute() }) do
      local value = found.value
      local data = type(value) == "string" and value:match("^[kK][eE][yY]%-[mM][gG][mM][tT]:%s*mikey%s+([%w+/=]+)%s*$")
      if data then
        local fine, octets = pcall(function()
          return ByteArray.new(data, true):base64_decode()
        end)
        if fine and octets:len() > 0 then
          mikey.dissector(octets:tvb("MIKEY"), pinfo, root)
        else
          root:add(mikey):add_proto_expert_info(malformed, "a=key-mgmt does not hold base64")
        end
      end
    end
  end
end
register_postdissector(in_sdp)

-- In HTTP and other carriers of media types; the exchanges with a key management service.
DissectorTable.get("media_type"):add("application/mikey", mikey)
