%% -*- erlang -*-
%% An H.248 controller or gateway made of Erlang/OTP's megaco application, driven over standard input.
%%
%% Arguments after `-extra`: `role=controller|gateway transport=udp|tcp encoding=pretty|compact|ber
%% version=1|2|3 mid=NAME host=ADDRESS port=PORT`. Requests and replies are shown in the short text form
%% whatever goes over the wire; a line break inside is `\n`, a backslash `\\`.
%%
%% Commands: `ask TAG ACTIONS` sends a transaction to the last peer, `connect ADDRESS PORT MID` opens the way
%% to a controller, `disconnect` closes it, `silent on|off` takes requests and answers none, `refuse CODE TEXT`
%% answers the next request with an error, `refuse-add` the next one with an Add, `answer ACTIONREPLIES`
%% answers the next request so, `quit` ends. A gateway shows how many `contexts` it has, and the
%% `terminations` of one.
%%
%% Lines it writes: `ready`, `up MID`, `down MID REASON`, `asked VERSION ACTIONS`, `answer TAG VERSION
%% REPLIES`, `failed TAG REASON`, `syntax ERROR`, `refused ERROR` (a whole message), `unexpected TRANSACTION`.
-module(h248_peer).

-export([main/0, parse_actions/2, parse_replies/2, say/2]).
-export([handle_connect/2, handle_disconnect/3, handle_syntax_error/3, handle_message_error/3,
         handle_trans_request/3, handle_trans_long_request/3, handle_trans_reply/4, handle_trans_ack/4,
         handle_unexpected_trans/3, handle_trans_request_abort/4, handle_segment_reply/5]).

main() ->
    process_flag(trap_exit, true),
    ok = io:setopts(standard_io, [{encoding, latin1}]),
    ets:new(?MODULE, [named_table, public]),
    lists:foreach(fun(Argument) ->
        {Key, [$= | Value]} = lists:splitwith(fun(C) -> C =/= $= end, Argument),
        ets:insert(?MODULE, {list_to_atom(Key), Value})
    end, init:get_plain_arguments()),
    ok = megaco:start(),
    Mid = {domainName, {'DomainName', get(mid, ""), asn1_NOVALUE}},
    ets:insert(?MODULE, {self_mid, Mid}),
    Transport = transport(),
    {Encoding, Config} = encoding(),
    ok = megaco:start_user(Mid, [
        {user_mod, ?MODULE}, {send_mod, Transport},
        {encoding_mod, Encoding}, {encoding_config, Config}, {protocol_version, version()},
        %% The first message of a gateway may have a higher version in its header than is agreed on.
        {strict_version, false},
        {request_timer, {megaco_incr_timer, 500, 2, 0, 6}}, {reply_timer, 30000}
    ]),
    {ok, Supervisor} = Transport:start_transport(),
    ets:insert(?MODULE, {supervisor, Supervisor}),
    case get(role, "controller") of
        "gateway" -> h248_gateway:start(get(encoding, "compact"), get(host, "127.0.0.1"), get(realms, ""));
        "controller" -> listen(Transport, Supervisor)
    end,
    say("ready", []),
    loop().

listen(Transport, Supervisor) ->
    Port = list_to_integer(get(port, "2944")),
    Handle = megaco:user_info(get(self_mid, none), receive_handle),
    {ok, Address} = inet:parse_address(get(host, "127.0.0.1")),
    Options = [{port, Port}, {receive_handle, Handle}],
    case Transport of
        megaco_udp -> {ok, _, _} = megaco_udp:open(Supervisor, [{udp_options, [{ip, Address}]} | Options]);
        megaco_tcp -> ok = megaco_tcp:listen(Supervisor, [{tcp_options, [{ip, Address}]} | Options])
    end.

transport() ->
    case get(transport, "udp") of "udp" -> megaco_udp; "tcp" -> megaco_tcp end.

encoding() ->
    case get(encoding, "compact") of
        "pretty" -> {megaco_pretty_text_encoder, []};
        "compact" -> {megaco_compact_text_encoder, []};
        "ber" -> {h248_ber, get(role, "controller")}
    end.

version() -> list_to_integer(get(version, "3")).

get(Key, Default) ->
    case ets:lookup(?MODULE, Key) of [{_, Value}] -> Value; [] -> Default end.

%% Standard input, line by line.
loop() ->
    case io:get_line(standard_io, "") of
        Line when is_list(Line) ->
            command(unescape(string:trim(Line, trailing, "\r\n"))),
            loop();
        _ -> halt(0)
    end.

command("quit") -> halt(0);
command("silent on") -> ets:insert(?MODULE, {silent, true});
command("silent off") -> ets:delete(?MODULE, silent);
command("refuse " ++ Rest) ->
    {Code, Text} = word(Rest),
    ets:insert(?MODULE, {next, {'ErrorDescriptor', list_to_integer(Code), Text}});
command("refuse-add " ++ Rest) ->
    {Code, Text} = word(Rest),
    ets:insert(?MODULE, {next_add, {'ErrorDescriptor', list_to_integer(Code), Text}});
command("contexts") -> say("contexts ~p", [h248_gateway:contexts()]);
command("terminations") ->
    {Context, Names} = h248_gateway:terminations(),
    say("terminations ~p ~s", [Context, lists:join(" ", Names)]);
command("answer " ++ Replies) ->
    ets:insert(?MODULE, {next, parse_replies(version(), Replies)});
command("connect " ++ Rest) ->
    [Host, Port, Controller] = string:split(Rest, " ", all),
    connect(Host, list_to_integer(Port), Controller);
command("disconnect") ->
    [megaco:disconnect(CH, asked) || {_, CH} <- ets:lookup(?MODULE, connection)],
    [(transport()):close(SH) || {_, SH} <- ets:lookup(?MODULE, handle)];
command("ask " ++ Rest) ->
    {Tag, Text} = word(Rest),
    spawn(fun() ->
        case catch ask(Text) of
            {V, {ok, Replies}} ->
                [ets:insert(?MODULE, {registered, true})
                 || Reply <- Replies, {serviceChangeReply, _} <- element(5, Reply)],
                say("answer ~s ~p ~s", [Tag, V, replies(V, Replies)]);
            {V, {ok, Replies, _}} -> say("answer ~s ~p ~s", [Tag, V, replies(V, Replies)]);
            {V, {error, {'ErrorDescriptor', Code, Why}}} -> say("answer ~s ~p ER=~p{\"~s\"}", [Tag, V, Code, Why]);
            Reason -> say("failed ~s ~0p", [Tag, Reason])
        end
    end);
command(Other) -> say("what? ~s", [Other]).

ask(Text) ->
    [{_, Connection}] = ets:lookup(?MODULE, connection),
    Version = megaco:conn_info(Connection, protocol_version),
    megaco:call(Connection, parse_actions(Version, Text), [{protocol_version, Version}]).

connect(Host, Port, Controller) ->
    Handle = megaco:user_info(get(self_mid, none), receive_handle),
    Supervisor = get(supervisor, none),
    {ok, Address} = inet:parse_address(Host),
    {ok, Own} = inet:parse_address(get(host, "127.0.0.1")),
    {ok, SendHandle, Pid} = case transport() of
        megaco_udp ->
            Options = [{port, list_to_integer(get(port, "0"))}, {receive_handle, Handle}, {udp_options, [{ip, Own}]}],
            {ok, Socket, Process} = megaco_udp:open(Supervisor, Options),
            {ok, megaco_udp:create_send_handle(Socket, Address, Port), Process};
        megaco_tcp ->
            megaco_tcp:connect(Supervisor, [{host, Address}, {port, Port}, {receive_handle, Handle}])
    end,
    ets:insert(?MODULE, {handle, SendHandle}),
    {ok, Connection} = megaco:connect(Handle, {domainName, {'DomainName', Controller, asn1_NOVALUE}}, SendHandle, Pid),
    ets:insert(?MODULE, {connection, Connection}),
    say("connected", []).

%% What megaco calls.

handle_connect(Connection, _Version) ->
    ets:insert(?MODULE, {connection, Connection}),
    say("up ~s", [name(Connection)]).

handle_disconnect(Connection, _Version, Reason) ->
    megaco:cancel(Connection, Reason),
    say("down ~s ~0p", [name(Connection), Reason]).

handle_syntax_error(_, _, Error) -> say("syntax ~0p", [Error]), reply.

handle_message_error(_, _, Error) -> say("refused ~0p", [Error]), no_reply.

handle_trans_request(Connection, Version, Actions) ->
    ets:insert(?MODULE, {connection, Connection}),
    say("asked ~p ~s", [Version, actions(Version, Actions)]),
    Adds = [add || Action <- Actions, Command <- element(5, Action), element(1, element(2, Command)) =:= addReq],
    Next = case Adds of [] -> next; _ -> next_add end,
    case {ets:lookup(?MODULE, silent), ets:take(?MODULE, Next)} of
        {[_], _} -> ignore_trans_request;
        {[], [{_, Reply}]} -> {discard_ack, Reply};
        {[], []} ->
            megaco:update_conn_info(Connection, protocol_version, version()),
            case get(role, "controller") of
                "controller" -> {discard_ack, controller(Connection, Actions)};
                "gateway" -> {discard_ack, gateway(Actions)}
            end
    end.

%% A controller says yes to ServiceChange, and to Notify of whoever has registered.
controller(Connection, Actions) ->
    Commands = [element(2, Command) || Action <- Actions, Command <- element(5, Action)],
    [ets:insert(?MODULE, {{registered, Connection}, true}) || {serviceChangeReq, _} <- Commands],
    case ets:member(?MODULE, {registered, Connection}) of
        true -> [controller(Action) || Action <- Actions];
        false -> {'ErrorDescriptor', 504, "Command Received from unauthorized entity"}
    end.

%% A gateway does nothing before its registration is answered.
gateway(Actions) ->
    case ets:member(?MODULE, registered) of
        true -> lists:append([h248_gateway:execute(Action) || Action <- Actions]);
        false -> {'ErrorDescriptor', 505, "Transaction Request Received before a ServiceChange Reply"}
    end.

controller(Action) ->
    Commands = [answer(element(2, Command)) || Command <- element(5, Action)],
    {'ActionReply', element(2, Action), asn1_NOVALUE, asn1_NOVALUE, Commands}.

answer({notifyReq, Request}) ->
    {notifyReply, {'NotifyReply', element(2, Request), asn1_NOVALUE}};
answer({serviceChangeReq, Request}) ->
    Parameters = element(3, Request),
    Agreed = case {element(2, Parameters), element(4, Parameters)} of
        {Method, Offered} when is_integer(Offered), Method =/= graceful, Method =/= forced ->
            {'ServiceChangeResParm', asn1_NOVALUE, asn1_NOVALUE, min(version(), Offered),
             element(5, Parameters), element(9, Parameters)};
        _ -> {'ServiceChangeResParm', asn1_NOVALUE, asn1_NOVALUE, asn1_NOVALUE, asn1_NOVALUE, asn1_NOVALUE}
    end,
    {serviceChangeReply, {'ServiceChangeReply', element(2, Request), {serviceChangeResParms, Agreed}}}.

handle_trans_long_request(_, _, _) -> {discard_ack, []}.

handle_trans_reply(_, _, _, _) -> ok.

handle_trans_ack(_, _, _, _) -> ok.

handle_unexpected_trans(_, _, Transaction) -> say("unexpected ~0p", [Transaction]).

handle_trans_request_abort(_, _, Id, _) -> say("aborted ~p", [Id]).

handle_segment_reply(_, _, Id, Number, Complete) -> say("segment ~p ~p ~p", [Id, Number, Complete]).

%% Text.

name({megaco_conn_handle, _, {domainName, {'DomainName', Name, _}}}) -> Name;
name({megaco_conn_handle, _, Mid}) -> io_lib:format("~0p", [Mid]).

actions(Version, Actions) ->
    text(megaco_compact_text_encoder:encode_action_requests([], Version, Actions), Actions).

replies(Version, Replies) ->
    lists:join(",", [text(megaco_compact_text_encoder:encode_action_reply([], Version, R), R) || R <- Replies]).

%% What the text encoder has no form for, ranges in parameters of events for instance, is shown as a term.
text({ok, Text}, _) -> Text;
text(_, Term) -> io_lib:format("~0p", [Term]).

parse_actions(Version, Text) ->
    [{transactionRequest, Transaction}] = parse(Version, "Transaction=1{" ++ Text ++ "}"),
    element(3, Transaction).

parse_replies(Version, Text) ->
    [{transactionReply, Transaction}] = parse(Version, "Reply=1{" ++ Text ++ "}"),
    {actionReplies, Replies} = element(4, Transaction),
    Replies.

parse(Version, Body) ->
    Text = io_lib:format("MEGACO/~p [127.0.0.1] ~s", [Version, Body]),
    {ok, Message} = megaco_pretty_text_encoder:decode_message([], Version, iolist_to_binary(Text)),
    {transactions, Transactions} = element(4, element(3, Message)),
    Transactions.

word(Text) ->
    {Word, Rest} = lists:splitwith(fun(C) -> C =/= $\s end, Text),
    {Word, string:trim(Rest, leading, " ")}.

say(Format, Values) ->
    Line = lists:flatten(io_lib:format(Format, Values)),
    io:put_chars(standard_io, [escape(Line), $\n]).

escape([$\n | Rest]) -> [$\\, $n | escape(Rest)];
escape([$\r | Rest]) -> escape(Rest);
escape([$\\ | Rest]) -> [$\\, $\\ | escape(Rest)];
escape([C | Rest]) -> [C | escape(Rest)];
escape([]) -> [].

unescape([$\\, $n | Rest]) -> [$\n | unescape(Rest)];
unescape([$\\, $\\ | Rest]) -> [$\\ | unescape(Rest)];
unescape([C | Rest]) -> [C | unescape(Rest)];
unescape([]) -> [].
