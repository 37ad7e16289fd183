%% -*- erlang -*-
%% A gateway for Erlang/OTP's megaco: contexts with two TCP terminations that listen, connect and relay.
%%
%% It understands Add, Modify and Subtract with one stream, audits, and ServiceChange; `a=setup` in Local
%% says who connects, both sides passive are joined when both have come. It keeps no gates, filters or
%% rates, and sends no events by itself.
-module(h248_gateway).

-export([start/3, execute/1, contexts/0, terminations/0]).

-define(NO, asn1_NOVALUE).
-define(CHOOSE, 16#fffffffe).
-define(ALL, 16#ffffffff).

%% `Realms` is `REALM:ADDRESS,...`: where a termination of a realm listens, otherwise on `Host`.
start(Encoding, Host, Realms) ->
    ets:new(?MODULE, [named_table, public]),
    Addresses = [list_to_tuple(string:split(Realm, ":")) || Realm <- string:tokens(Realms, ",")],
    ets:insert(?MODULE, [{encoding, Encoding}, {host, Host}, {realms, Addresses}, {next, 0}]).

%% How many there are.
contexts() -> length(ets:match(?MODULE, {{context, '$1'}, '_'})).

%% One context with its terminations.
terminations() ->
    [[Context, Process] | _] = ets:match(?MODULE, {{context, '$1'}, '$2'}),
    {Context, [string:join(element(3, Id), "/") || Id <- ask(Process, list)]}.

%% The replies to one action.
execute(Action) ->
    Asked = element(2, Action),
    Commands = element(5, Action),
    Context = case Asked of ?CHOOSE -> next(); _ -> Asked end,
    case {Asked, ets:lookup(?MODULE, {context, Context})} of
        {0, _} -> reply(0, [command(none, Command) || Command <- Commands]);
        {?ALL, _} -> everywhere(Commands);
        {?CHOOSE, _} ->
            Process = spawn(fun() -> context(#{}) end),
            ets:insert(?MODULE, {{context, Context}, Process}),
            run(Context, Process, Commands);
        {_, [{_, Process}]} -> run(Context, Process, Commands);
        {_, []} -> [{'ActionReply', Asked, {'ErrorDescriptor', 411, "Unknown ContextID"}, ?NO, []}]
    end.

run(Context, Process, Commands) ->
    Replies = lists:flatten([command(Process, Command) || Command <- Commands]),
    case ask(Process, list) of
        [] -> Process ! stop, ets:delete(?MODULE, {context, Context});
        _ -> ok
    end,
    reply(Context, Replies).

%% A command in all contexts is carried out in each.
everywhere(Commands) ->
    Contexts = lists:sort([{C, P} || {{context, C}, P} <- ets:tab2list(?MODULE)]),
    case lists:append([run(C, P, Commands) || {C, P} <- Contexts]) of
        [] ->
            Error = {'ErrorDescriptor', 431, "No TerminationID matched a wildcard"},
            [{'ActionReply', ?ALL, Error, ?NO, []}];
        Replies -> Replies
    end.

reply(Context, Replies) -> [{'ActionReply', Context, ?NO, ?NO, Replies}].

command(Process, Command) -> do(Process, element(2, Command)).

do(Process, {addReq, Request}) ->
    Id = name(next()),
    Media = ask(Process, {add, Id, media(element(3, Request))}),
    {addReply, {'AmmsReply', [Id], [{mediaDescriptor, Media}]}};
do(Process, {modReq, Request}) ->
    [Id] = element(2, Request),
    case ask(Process, {modify, Id, media(element(3, Request))}) of
        ok -> {modReply, {'AmmsReply', [Id], ?NO}};
        none -> {modReply, {'AmmsReply', [Id], unknown()}}
    end;
do(Process, {subtractReq, {'SubtractRequest', [Wanted], Audit}}) ->
    case [Id || Id <- ask(Process, list), matches(Wanted, Id)] of
        [] -> {subtractReply, {'AmmsReply', [Wanted], unknown()}};
        Ids -> [subtracted(Id, Audit, ask(Process, {subtract, Id})) || Id <- Ids]
    end;
do(none, {auditValueRequest, Request}) ->
    Tokens = tokens(element(3, Request)),
    audited(element(2, Request), lists:append([root(Token) || Token <- Tokens]));
do(Process, {auditValueRequest, Request}) ->
    [audited(Id, []) || Id <- ask(Process, list), matches(element(2, Request), Id)];
do(_, {auditCapRequest, Request}) ->
    {auditCapReply, {auditResult, {'AuditResult', element(2, Request), []}}};
do(_, {serviceChangeReq, Request}) ->
    Agreed = {'ServiceChangeResParm', ?NO, ?NO, ?NO, ?NO, ?NO},
    {serviceChangeReply, {'ServiceChangeReply', element(2, Request), {serviceChangeResParms, Agreed}}}.

subtracted(Id, Audit, {Sent, Received, Since}) ->
    Lasted = erlang:system_time(millisecond) - Since,
    Statistics = [{'StatisticsParameter', Name, [integer_to_list(N)]}
                  || {Name, N} <- [{"nt/dur", Lasted}, {"nt/os", Sent}, {"nt/or", Received}]],
    Asked = Audit =:= ?NO orelse lists:member(statsToken, tokens(Audit)),
    Told = if Asked -> [{statisticsDescriptor, Statistics}]; true -> ?NO end,
    {subtractReply, {'AmmsReply', [Id], Told}}.

unknown() -> [{errorDescriptor, {'ErrorDescriptor', 430, "Unknown TerminationID"}}].

audited(Id, Told) -> {auditValueReply, {auditResult, {'AuditResult', Id, Told}}}.

root(packagesToken) ->
    Packages = [{"g", 1}, {"root", 2}, {"nt", 1}, {"ds", 2}, {"gm", 2}, {"tman", 1}, {"rtcph", 1},
                {"hangterm", 1}, {"ipnapt", 1}, {"ipdc", 1}, {"it", 1}, {"adid", 1}, {"tcpbcc", 1}],
    [{packagesDescriptor, [{'PackagesItem', Name, Version} || {Name, Version} <- Packages]}];
root(mediaToken) ->
    Limits = [{'PropertyParm', Name, [Value], ?NO}
              || {Name, Value} <- [{"root/maxNumberOfContexts", "1000"}, {"root/maxTerminationsPerContext", "2"}]],
    [{mediaDescriptor, {'MediaDescriptor', {'TerminationStateDescriptor', Limits, ?NO, inSvc}, ?NO}}];
root(_) -> [].

tokens(Audit) when is_tuple(Audit), is_list(element(2, Audit)) -> element(2, Audit);
tokens(_) -> [].

matches({megaco_term_id, true, _}, _) -> true;
matches(Wanted, Id) -> Wanted =:= Id.

media(Descriptors) when is_list(Descriptors) -> proplists:get_value(mediaDescriptor, Descriptors);
media(_) -> undefined.

next() -> ets:update_counter(?MODULE, next, 1).

%% In the binary encoding a name is eight octets, written as bits.
name(N) ->
    case ets:lookup_element(?MODULE, encoding, 2) of
        "ber" -> {megaco_term_id, false, [bits(Octet) || <<Octet>> <= <<1, N:56>>]};
        _ -> {megaco_term_id, false, ["tcp", integer_to_list(N)]}
    end.

bits(N) -> lists:flatten(io_lib:format("~8.2.0b", [N])).

ask(Process, What) ->
    Process ! {What, self(), Reference = make_ref()},
    receive {Reference, Answer} -> Answer after 5000 -> exit(context_silent) end.

%% A context: terminations by name, each with the port it listens on, where its peer is, its role, its
%% connection and its counters.
context(Terminations) ->
    receive
        {{add, Id, Media}, From, Reference} ->
            Host = host(Media),
            {ok, Address} = inet:parse_address(Host),
            {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ip, Address}, {reuseaddr, true}]),
            {ok, Port} = inet:port(Listener),
            Filled = fill(Media, Host, Port),
            From ! {Reference, only_local(Filled)},
            Self = self(),
            spawn_link(fun() -> accept(Listener, Self, Id) end),
            Since = erlang:system_time(millisecond),
            Termination = #{setup => setup(Filled), remote => remote(Filled), listener => Listener,
                            socket => none, counters => counters:new(2, []), since => Since},
            context(join(Terminations#{Id => Termination}));
        {{modify, Id, Media}, From, Reference} ->
            case Terminations of
                #{Id := Old} ->
                    From ! {Reference, ok},
                    New = Old#{setup := newer(setup(Media), maps:get(setup, Old)),
                               remote := newer(remote(Media), maps:get(remote, Old))},
                    context(join(Terminations#{Id := New}));
                _ -> From ! {Reference, none}, context(Terminations)
            end;
        {{subtract, Id}, From, Reference} ->
            {#{socket := Socket, listener := Listener, counters := C, since := Since}, Left} =
                maps:take(Id, Terminations),
            gen_tcp:close(Listener),
            [gen_tcp:close(Socket) || Socket =/= none],
            From ! {Reference, {counters:get(C, 1), counters:get(C, 2), Since}},
            context(Left);
        {list, From, Reference} ->
            From ! {Reference, lists:sort(maps:keys(Terminations))},
            context(Terminations);
        {accepted, Id, Socket} ->
            case Terminations of
                #{Id := #{socket := none} = T} -> context(join(Terminations#{Id := T#{socket := Socket}}));
                _ -> gen_tcp:close(Socket), context(Terminations)
            end;
        stop -> ok
    end.

accept(Listener, Context, Id) ->
    case gen_tcp:accept(Listener) of
        {ok, Socket} ->
            ok = gen_tcp:controlling_process(Socket, Context),
            Context ! {accepted, Id, Socket},
            accept(Listener, Context, Id);
        _ -> ok
    end.

%% Connects where the other side has come, and relays when both are there.
join(Terminations) ->
    case maps:to_list(Terminations) of
        [{A, TA}, {B, TB}] ->
            {NewA, NewB} = {dial(TA, TB), dial(TB, TA)},
            {#{socket := SA}, #{socket := SB}} = {NewA, NewB},
            Already = maps:is_key(joined, TA),
            case is_port(SA) andalso is_port(SB) andalso not Already of
                true ->
                    pump(SA, SB, maps:get(counters, NewA), maps:get(counters, NewB)),
                    #{A => NewA#{joined => true}, B => NewB#{joined => true}};
                false -> #{A => NewA, B => NewB}
            end;
        _ -> Terminations
    end.

dial(#{socket := none, setup := "active", remote := {Address, Port}} = T, #{socket := Other}) when is_port(Other) ->
    case gen_tcp:connect(Address, Port, [binary, {active, false}], 3000) of
        {ok, Socket} -> T#{socket := Socket};
        _ -> T
    end;
dial(T, _) -> T.

pump(A, B, CountersA, CountersB) ->
    Pump = fun(From, To, Received, Sent) ->
        spawn_link(fun() -> pump(From, To, Received, Sent, ok) end)
    end,
    Pump(A, B, CountersA, CountersB),
    Pump(B, A, CountersB, CountersA).

pump(From, To, Received, Sent, ok) ->
    case gen_tcp:recv(From, 0) of
        {ok, Octets} ->
            counters:add(Received, 2, byte_size(Octets)),
            counters:add(Sent, 1, byte_size(Octets)),
            pump(From, To, Received, Sent, gen_tcp:send(To, Octets));
        _ -> gen_tcp:shutdown(To, write)
    end;
pump(From, _, _, _, _) -> gen_tcp:shutdown(From, read).

%% Where a termination of its realm is.
host(Media) ->
    Realms = case streams(Media) of
        [Stream | _] when is_tuple(element(2, Stream)) ->
            [Realm || {'PropertyParm', Name, [Realm], _} <- element(5, element(2, Stream)),
                      string:equal(Name, "ipdc/realm", true)];
        _ -> []
    end,
    Known = ets:lookup_element(?MODULE, realms, 2),
    case [Address || Realm <- Realms, {Name, Address} <- Known, Name =:= string:trim(Realm, both, "\"")] of
        [Address | _] -> Address;
        [] -> ets:lookup_element(?MODULE, host, 2)
    end.

newer(undefined, Old) -> Old;
newer(New, _) -> New.

%% Session descriptions: lists of properties `c`, `m`, `a` in Local and Remote.

fill(Term, Host, Port) ->
    walk(fun
        ({'PropertyParm', "c", ["IN IP4 $"], Extra}) -> {'PropertyParm', "c", ["IN IP4 " ++ Host], Extra};
        ({'PropertyParm', "m", [Line], Extra}) ->
            Fields = string:split(Line, " ", all),
            Filled = case Fields of
                [Media, "$" | Rest] -> [Media, integer_to_list(Port) | Rest];
                _ -> Fields
            end,
            {'PropertyParm', "m", [lists:flatten(lists:join(" ", Filled))], Extra};
        (Other) -> Other
    end, Term).

only_local(Term) ->
    walk(fun
        (Stream) when element(1, Stream) =:= 'StreamParms' -> setelement(2, setelement(4, Stream, ?NO), ?NO);
        (Media) when element(1, Media) =:= 'MediaDescriptor' -> setelement(2, Media, ?NO);
        (Other) -> Other
    end, Term).

setup(Media) ->
    case [S || {"a", "setup:" ++ S} <- properties(3, Media)] of [S | _] -> S; [] -> undefined end.

remote(Media) ->
    Lines = properties(4, Media),
    case {[A || {"c", "IN IP4 " ++ A} <- Lines], [lists:nth(2, string:split(M, " ", all)) || {"m", M} <- Lines]} of
        {[Address | _], [Port | _]} ->
            {ok, Parsed} = inet:parse_address(string:trim(Address)),
            {Parsed, list_to_integer(Port)};
        _ -> undefined
    end.

%% The lines of Local (3) or Remote (4) in the first stream.
properties(_, undefined) -> [];
properties(Which, Media) ->
    case streams(Media) of
        [Stream | _] when is_tuple(element(Which, Stream)) ->
            [Group | _] = element(2, element(Which, Stream)),
            [{Name, Value} || {'PropertyParm', Name, [Value], _} <- Group];
        _ -> []
    end.

streams(Media) ->
    case element(3, Media) of
        {oneStream, Stream} -> [Stream];
        {multiStream, List} -> [element(3, S) || S <- List];
        _ -> []
    end.

walk(Do, Tuple) when is_tuple(Tuple), tuple_size(Tuple) > 0 ->
    Do(list_to_tuple([walk(Do, Field) || Field <- tuple_to_list(Tuple)]));
walk(Do, [H | T]) -> [walk(Do, H) | walk(Do, T)];
walk(_, Other) -> Other.
