%% -*- erlang -*-
%% What Erlang/OTP's BER encoding leaves to its user: names of packages it does not know, the encoding of
%% each value by its own type inside its octet string (RFC 3525 A.2), and how termination names become
%% octets. The configuration is `"controller"` for terminations named by Carnet's rule (levels of one, one,
%% two and four octets), `"gateway"` for eight levels of one octet.
-module(h248_ber).

-export([encode_message/3, decode_message/3, decode_mini_message/3]).
-export([encode_transaction/3, encode_action_requests/3, encode_action_reply/3]).
-export([encode_name/3, decode_name/3]).

encode_message(Role, Version, Message) ->
    megaco_ber_encoder:encode_message(resolver(Role), Version, values(fun wrap/2, "", Message)).

decode_message(Role, _, Octets) ->
    try decode(Role, Octets) of
        {ok, Message} -> {ok, Message};
        Error -> h248_peer:say("undecoded ~0P", [Error, 60]), Error
    catch
        _:Why -> h248_peer:say("undecoded ~0P", [Why, 60]), {error, Why}
    end.

decode(Role, Octets) ->
    case megaco_ber_media_gateway_control_v1:decode_message_version(Octets) of
        {ok, Partial} ->
            Version = element(2, element(3, Partial)),
            case megaco_ber_encoder:decode_message(resolver(Role), Version, Octets) of
                {ok, Message} -> {ok, values(fun unwrap/2, "", Message)};
                Error -> Error
            end;
        Error -> Error
    end.

decode_mini_message(Role, Version, Octets) ->
    megaco_ber_encoder:decode_mini_message(resolver(Role), Version, Octets).

encode_transaction(_, _, _) -> {error, not_implemented}.
encode_action_requests(_, _, _) -> {error, not_implemented}.
encode_action_reply(_, _, _) -> {error, not_implemented}.

resolver(Role) ->
    Levels = case Role of "controller" -> [8, 8, 16, 32]; "gateway" -> [8, 8, 8, 8, 8, 8, 8, 8] end,
    [{binary_name_resolver, {?MODULE, Levels}}].

%% Packages beyond those of H.248.1: name, number, items as kind, name, number, type, parameters.
packages() ->
    Cause = {enum, [{"NR", 1}, {"UR", 2}, {"FT", 3}, {"FP", 4}, {"IW", 5}, {"UN", 6}]},
    [{"g", 1, [
        {event, "cause", 1, none, [{"Generalcause", 1, Cause}, {"Failurecause", 2, text}]},
        {event, "sc", 2, none, [{"SigID", 1, octets}, {"Meth", 2, {enum, [{"TO", 1}, {"EV", 2}, {"SD", 3}, {"NC", 4}]}}]}]},
     {"root", 2, [{property, Name, Number, integer, []} || {Name, Number} <- [
        {"maxNumberOfContexts", 1}, {"maxTerminationsPerContext", 2}, {"normalMGExecutionTime", 3},
        {"normalMGCExecutionTime", 4}, {"MGProvisionalResponseTimerValue", 5},
        {"MGCProvisionalResponseTimerValue", 6}, {"MGCOriginatedPendingLimit", 7}, {"MGOriginatedPendingLimit", 8}]]},
     {"nt", 16#0b, [{statistics, "dur", 1, integer, []}, {statistics, "os", 2, integer, []},
                    {statistics, "or", 3, integer, []}, {event, "netfail", 5, none, [{"cs", 1, text}]},
                    {event, "qualert", 6, none, [{"th", 1, integer}]}]},
     {"it", 16#45, [{event, "ito", 1, none, [{"mit", 1, integer}]}]},
     {"chp", 16#29, [{event, "MGCon", 1, none, [{"reduction", 1, integer}]}]},
     {"ocp", 16#51, [{event, "mg_overload", 1, none, []}]},
     {"ds", 16#8b, [{property, "dscp", 1, octets, []}, {property, "tc", 2, boolean, []}]},
     {"gm", 16#8c, [{property, "saf", 1, boolean, []}, {property, "sam", 2, text, []},
                    {property, "spf", 3, boolean, []}, {property, "spr", 4, text, []},
                    {property, "esas", 5, boolean, []}, {property, "lsa", 6, text, []},
                    {property, "esps", 7, boolean, []}, {property, "lsp", 8, integer, []},
                    {property, "rsb", 9, boolean, []}]},
     {"tman", 16#8d, [{property, "sdr", 1, integer, []}, {property, "mbs", 2, integer, []},
                      {property, "pdr", 3, integer, []}, {property, "dvt", 4, integer, []},
                      {property, "pol", 5, boolean, []}]},
     {"hangterm", 16#98, [{event, "thb", 1, none, [{"timerx", 1, integer}]}]},
     {"ipnapt", 16#99, [{signal, "latch", 1, none, [{"napt", 1, {enum, [{"OFF", 0}, {"LATCH", 1}, {"RELATCH", 2}]}}]}]},
     {"nb", 16#9a, [{property, "rate", 1, text, []}]},
     {"seg", 16#a3, [{property, Name, Number, integer, []} || {Name, Number} <- [
        {"MGSegmentationTimerValue", 1}, {"MGCSegmentationTimerValue", 2}, {"MGMaxPDUSize", 3}, {"MGCMaxPDUSize", 4}]]},
     {"adid", 16#9c, [{event, "ipstop", 1, none, [{"dt", 1, integer},
                                                  {"dir", 2, {enum, [{"IN", 1}, {"OUT", 2}, {"BOTH", 3}]}}]}]},
     {"ipdc", 16#9d, [{property, "realm", 1, text, []}]},
     {"adr", 16#ac, [{event, "rsac", 1, none, [{"nrsa", 1, text}, {"nrsp", 2, integer}]}]},
     {"rtcph", 16#b5, [{property, "rsb", 9, boolean, []}]},
     {"ipra", 16#e0, [{property, "ar", 2, text, []}, {event, "arc", 1, none, [{"nar", 1, text}, {"nur", 2, text}]}]},
     {"tcpbcc", 16#115, [{signal, "EstBNC", 1, none, []}, {signal, "RelBNC", 3, none, [{"Generalcause", 1, Cause}]},
                         {event, "BNCChange", 1, none, [{"Type", 1, {enum, [{"EST", 1}, {"REL", 4}]}},
                                                        {"Generalcause", 2, Cause}, {"Failurecause", 3, text}]}]},
     {"tlsbsc", 16#117, [{signal, "EstBNC", 1, none, []}, {signal, "RelBNC", 3, none, [{"Generalcause", 1, Cause}]},
                         {event, "BNCChange", 1, none, [{"Type", 1, {enum, [{"EST", 1}, {"REL", 4}]}},
                                                        {"Generalcause", 2, Cause}, {"Failurecause", 3, text}]}]},
     {"fcp", 16#6e, [{property, "confid", 1, integer, []}, {property, "floors", 2, text, []},
                     {property, "maxrequests", 3, integer, []}, {property, "state", 4, text, []},
                     {property, "chair", 5, integer, []},
                     {event, "floor", 1, none, [{"floor", 1, integer}, {"holders", 2, integer}, {"queue", 3, integer},
                                                {"state", 4, text}]}]},
     {"crntls", 16#9001, [{property, "psk", 1, octets, []}, {property, "pskid", 2, text, []}]},
     {"crnroom", 16#9002, [
        {property, "user", 1, integer, []}, {property, "member", 2, text, []}, {property, "nick", 3, text, []},
        {property, "speak", 4, boolean, []}, {property, "history", 5, boolean, []}, {property, "maxsize", 6, integer, []},
        {property, "types", 7, text, []}, {property, "tls", 8, {enum, [{"client", 1}, {"server", 2}]}, []},
        {property, "uri", 16, text, []}, {property, "subject", 17, text, []}, {property, "nicknames", 18, boolean, []},
        {property, "private", 19, boolean, []}, {property, "moderated", 20, integer, []},
        {property, "historycount", 21, integer, []}, {property, "historysecs", 22, integer, []},
        {property, "maxmessage", 23, integer, []}, {property, "stallsecs", 24, integer, []},
        {property, "stalloctets", 25, integer, []}, {property, "reserved", 26, text, []},
        {property, "notices", 27, boolean, []},
        {event, "nickname", 1, none, [{"user", 1, integer}, {"nick", 2, text}]},
        {event, "released", 2, none, [{"user", 1, integer}, {"reason", 2, text}]},
        {event, "stalled", 3, none, [{"user", 1, integer}, {"on", 2, boolean}]},
        {event, "sealed", 4, none, [{"version", 1, text}, {"suite", 2, text}]}]}].

package(Name) ->
    case lists:keyfind(Name, 1, packages()) of false -> exit({unknown_package, Name}); Package -> Package end.

item(Kind, Package, Name) ->
    {_, _, Items} = package(Package),
    case [Item || {K, N, _, _, _} = Item <- Items, K =:= Kind, same(N, Name)] of
        [Item] -> Item;
        [] -> exit({unknown_item, Kind, Package, Name})
    end.

%% Names to numbers.

encode_name(Levels, term_id, Id) ->
    case megaco:encode_binary_term_id(Levels, levels(Id)) of {ok, Wire} -> Wire; {error, Why} -> exit(Why) end;
encode_name(_, package, Name) -> {_, Number, _} = package(Name), two(Number);
encode_name(Options, {Kind, Of}, Parameter) when Kind =:= event_parameter; Kind =:= signal_parameter ->
    {_, _, _, _, Parameters} = item(owner(Kind), before_slash(Of), after_slash(Of)),
    case [Number || {Name, Number, _} <- Parameters, same(Name, Parameter)] of
        [Number] -> two(Number);
        [] -> megaco_binary_name_resolver_v3:encode_name(Options, {Kind, Of}, Parameter)
    end;
encode_name(Options, Kind, Name) when Kind =:= property; Kind =:= event; Kind =:= signal; Kind =:= statistics ->
    case string:split(Name, "/") of
        [Package, "*"] -> {_, Number, _} = package(Package), two(Number) ++ [255, 255];
        [Package, Item] ->
            {_, Number, _} = package(Package),
            two(Number) ++ two(element(3, item(Kind, Package, Item)));
        _ -> megaco_binary_name_resolver_v3:encode_name(Options, Kind, Name)
    end;
encode_name(Options, Kind, Name) -> megaco_binary_name_resolver_v3:encode_name(Options, Kind, Name).

decode_name(Levels, term_id, Wire) ->
    case megaco:decode_binary_term_id(Levels, Wire) of {ok, Id} -> readable(Id); {error, Why} -> exit(Why) end;
decode_name(_, package, [A, B]) -> element(1, lists:keyfind(A * 256 + B, 2, packages()));
decode_name(Options, {Kind, [High | _] = Number}, Parameter) when High < 32; High >= 128 ->
    decode_name(Options, {Kind, decode_name(Options, owner(Kind), Number)}, Parameter);
decode_name(Options, {Kind, Of}, [A, B]) when Kind =:= event_parameter; Kind =:= signal_parameter ->
    {_, _, _, _, Parameters} = item(owner(Kind), before_slash(Of), after_slash(Of)),
    case lists:keyfind(A * 256 + B, 2, Parameters) of
        {Name, _, _} -> Name;
        false -> megaco_binary_name_resolver_v3:decode_name(Options, {Kind, Of}, [A, B])
    end;
decode_name(Options, Kind, [0, 0 | _] = Number) ->
    megaco_binary_name_resolver_v3:decode_name(Options, Kind, Number);
decode_name(_, Kind, [A, B, C, D]) when Kind =:= property; Kind =:= event; Kind =:= signal; Kind =:= statistics ->
    {Package, _, Items} = lists:keyfind(A * 256 + B, 2, packages()),
    [Name] = [N || {K, N, Number, _, _} <- Items, K =:= Kind, Number =:= C * 256 + D],
    Package ++ "/" ++ Name;
decode_name(Options, Kind, Number) -> megaco_binary_name_resolver_v3:decode_name(Options, Kind, Number).

%% The text decoder makes names small.
same(A, B) -> string:equal(A, B, true).

%% `ip/GROUP/INTERFACE/NUMBER` is an octet of 40 and three numbers; some interfaces have words.
levels({megaco_term_id, Wild, ["ip", Group, Interface, Number]}) ->
    {megaco_term_id, Wild, [bits("64", 8), bits(Group, 8), bits(word(Interface), 16), bits(Number, 32)]};
levels(Id) -> Id.

readable({megaco_term_id, Wild, ["01000000", Group, Interface, Number]}) ->
    {megaco_term_id, Wild, ["ip", number(Group), back(number(Interface)), number(Number)]};
readable({megaco_term_id, true, [[Wild] | _]}) -> {megaco_term_id, true, [[Wild]]};
readable(Id) -> Id.

words() -> [{"access", "65281"}, {"core", "65282"}, {"mb", "65283"}, {"peer", "65284"}].
word(Word) -> proplists:get_value(Word, words(), Word).
back(Number) -> case lists:keyfind(Number, 2, words()) of {Word, _} -> Word; false -> Number end.

bits([Wild], _) when Wild =:= $$; Wild =:= $* -> [Wild];
bits(Digits, Size) -> lists:flatten(io_lib:format("~*.2.0b", [Size, list_to_integer(Digits)])).

%% The application reads a wildcard of one level into the level before it.
number(Bits) ->
    case [Wild || Wild <- Bits, Wild =:= $$ orelse Wild =:= $*] of
        [] -> integer_to_list(list_to_integer(Bits, 2));
        [Wild | _] -> [Wild]
    end.

owner(event_parameter) -> event;
owner(signal_parameter) -> signal.

two(Number) -> [Number bsr 8, Number band 255].

before_slash(Name) -> hd(string:split(Name, "/")).
after_slash(Name) -> lists:last(string:split(Name, "/")).

%% Values. `Of` is the event or signal around a parameter.

values(Do, _, {'PropertyParm', Name, Value, Extra}) ->
    {'PropertyParm', Name, each(Do, type(property, Name), Value), Extra};
values(Do, _, {'StatisticsParameter', Name, Value}) when is_list(Value) ->
    {'StatisticsParameter', Name, each(Do, type(statistics, Name), Value)};
values(Do, {Kind, Of}, {Tag, Name, Value, Extra}) when Tag =:= 'EventParameter'; Tag =:= 'SigParameter' ->
    {Tag, Name, each(Do, parameter(Kind, Of, Name), Value), Extra};
values(Do, _, Event) when element(1, Event) =:= 'RequestedEvent'; element(1, Event) =:= 'SecondRequestedEvent';
                          element(1, Event) =:= 'ObservedEvent' ->
    fields(Do, {event, element(2, Event)}, Event);
values(Do, _, Signal) when element(1, Signal) =:= 'Signal' -> fields(Do, {signal, element(2, Signal)}, Signal);
values(Do, Of, Change) when element(1, Change) =:= 'ServiceChangeParm' ->
    fields(Do, Of, setelement(6, Change, each(Do, text, element(6, Change))));
values(Do, Of, Tuple) when is_tuple(Tuple) -> fields(Do, Of, Tuple);
values(Do, Of, [H | T]) -> [values(Do, Of, H) | values(Do, Of, T)];
values(_, _, Other) -> Other.

fields(Do, Of, Tuple) -> list_to_tuple([values(Do, Of, Field) || Field <- tuple_to_list(Tuple)]).

type(Kind, Name) ->
    case string:split(Name, "/") of
        [Package, Item] -> element(4, item(Kind, Package, Item));
        %% A line of a session description.
        _ -> text
    end.

parameter(Kind, Of, Name) ->
    {_, _, _, _, Parameters} = item(Kind, before_slash(Of), after_slash(Of)),
    case [Type || {N, _, Type} <- Parameters, same(N, Name)] of [Type] -> Type; [] -> raw end.

each(_, raw, Values) -> Values;
each(Do, Type, Values) -> [Do(Type, Value) || Value <- Values].

wrap(boolean, Value) -> [1, 1, case string:lowercase(Value) of "on" -> 255; "off" -> 0 end];
wrap(integer, Value) -> tlv(2, integer_octets(list_to_integer(Value)));
wrap({enum, Words}, Value) -> [N] = [N || {W, N} <- Words, same(W, Value)], tlv(10, integer_octets(N));
wrap(octets, Value) -> tlv(4, binary_to_list(binary:decode_hex(list_to_binary(Value))));
wrap(_, Value) -> tlv(16#16, Value).

tlv(Tag, Octets) when length(Octets) < 128 -> [Tag, length(Octets) | Octets];
tlv(Tag, Octets) when length(Octets) < 256 -> [Tag, 16#81, length(Octets) | Octets];
tlv(Tag, Octets) -> [Tag, 16#82 | two(length(Octets))] ++ Octets.

integer_octets(N) ->
    Octets = binary_to_list(binary:encode_unsigned(N)),
    if hd(Octets) >= 128 -> [0 | Octets]; true -> Octets end.

unwrap(Type, [Tag, 16#81, Length | Octets]) when length(Octets) =:= Length -> unwrapped(Type, Tag, Octets);
unwrap(Type, [Tag, 16#82, High, Low | Octets]) when length(Octets) =:= High * 256 + Low -> unwrapped(Type, Tag, Octets);
unwrap(Type, [Tag, Length | Octets]) when length(Octets) =:= Length -> unwrapped(Type, Tag, Octets);
unwrap(Type, Octets) -> exit({not_wrapped, Type, Octets}).

unwrapped(Type, Tag, Octets) ->
    case {Tag, Type} of
        {1, boolean} -> case Octets of [0] -> "OFF"; [_] -> "ON" end;
        {2, integer} -> integer_to_list(binary:decode_unsigned(list_to_binary(Octets)));
        {10, {enum, Words}} -> element(1, lists:keyfind(binary:decode_unsigned(list_to_binary(Octets)), 2, Words));
        {4, octets} -> binary_to_list(binary:encode_hex(list_to_binary(Octets)));
        {T, text} when T =:= 16#16; T =:= 16#0c -> Octets;
        _ -> exit({wrong_type, Type, Tag})
    end.
