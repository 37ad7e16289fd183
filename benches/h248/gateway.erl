%% -*- erlang -*-
%% A gateway made of Erlang/OTP's megaco that carries nothing out: it gives out numbers and ports from
%% counters and answers Add, Modify and Subtract of two terminations with replies that its own codec writes,
%% in the short text form over UDP. Argument: the port of the controller on 127.0.0.1.
-module(gateway).

-export([main/0]).
-export([handle_connect/2, handle_disconnect/3, handle_syntax_error/3, handle_message_error/3,
         handle_trans_request/3, handle_trans_long_request/3, handle_trans_reply/4, handle_trans_ack/4,
         handle_unexpected_trans/3, handle_trans_request_abort/4, handle_segment_reply/5]).

-define(NO, asn1_NOVALUE).

main() ->
    [Argument] = init:get_plain_arguments(),
    ets:new(?MODULE, [named_table, public, {write_concurrency, true}]),
    ets:insert(?MODULE, {next, 0}),
    ok = megaco:start(),
    Mid = {domainName, {'DomainName', "gateway", ?NO}},
    ok = megaco:start_user(Mid, [
        {user_mod, ?MODULE}, {send_mod, megaco_udp}, {encoding_mod, megaco_compact_text_encoder},
        {encoding_config, []}, {protocol_version, 3}, {strict_version, false}, {reply_timer, 30000}
    ]),
    Handle = megaco:user_info(Mid, receive_handle),
    {ok, Supervisor} = megaco_udp:start_transport(),
    {ok, Socket, Process} = megaco_udp:open(Supervisor, [{port, 0}, {receive_handle, Handle}, {udp_options, [{recbuf, 1048576}]}]),
    Send = megaco_udp:create_send_handle(Socket, {127, 0, 0, 1}, list_to_integer(Argument)),
    {ok, Connection} = megaco:connect(Handle, preliminary_mid, Send, Process),
    Parameters = {'ServiceChangeParm', restart, ?NO, 3, ?NO, ["901 Cold Boot"], ?NO, ?NO, ?NO, ?NO, ?NO, ?NO},
    Root = {megaco_term_id, false, ["root"]},
    Change = {serviceChangeReq, {'ServiceChangeRequest', [Root], Parameters}},
    Action = {'ActionRequest', 0, ?NO, ?NO, [{'CommandRequest', Change, ?NO, ?NO}]},
    {_, {ok, _}} = megaco:call(Connection, [Action], []),
    receive stop -> ok end.

handle_trans_request(_, _, Actions) -> {discard_ack, [action(Action) || Action <- Actions]}.

action(Action) ->
    Context = case element(2, Action) of
        16#fffffffe -> ets:update_counter(?MODULE, next, 1);
        Given -> Given
    end,
    Replies = [command(element(2, Command)) || Command <- element(5, Action)],
    {'ActionReply', Context, ?NO, ?NO, Replies}.

command({addReq, _}) ->
    N = ets:update_counter(?MODULE, next, 1),
    Port = integer_to_list(20000 + N rem 30000),
    Line = fun(Name, Value) -> {'PropertyParm', Name, [Value], ?NO} end,
    Lines = [Line("v", "0"), Line("c", "IN IP4 127.0.60.2"), Line("m", "- " ++ Port ++ " TCP/TLS -"),
             Line("a", "setup:passive")],
    Stream = {'StreamDescriptor', 1, {'StreamParms', ?NO, {'LocalRemoteDescriptor', [Lines]}, ?NO, ?NO}},
    Media = {'MediaDescriptor', ?NO, {multiStream, [Stream]}},
    Id = {megaco_term_id, false, ["ip", "1", integer_to_list(N)]},
    {addReply, {'AmmsReply', [Id], [{mediaDescriptor, Media}]}};
command({modReq, Request}) -> {modReply, {'AmmsReply', element(2, Request), ?NO}};
command({subtractReq, Request}) ->
    Statistics = [{'StatisticsParameter', Name, ["0"]} || Name <- ["nt/dur", "nt/os", "nt/or"]],
    Told = case element(3, Request) of
        {'AuditDescriptor', [statsToken], _} -> [{statisticsDescriptor, Statistics}];
        _ -> ?NO
    end,
    {subtractReply, {'AmmsReply', element(2, Request), Told}}.

handle_connect(_, _) -> ok.
handle_disconnect(_, _, _) -> halt(1).
handle_syntax_error(_, _, _) -> reply.
handle_message_error(_, _, _) -> no_reply.
handle_trans_long_request(_, _, _) -> {discard_ack, []}.
handle_trans_reply(_, _, _, _) -> ok.
handle_trans_ack(_, _, _, _) -> ok.
handle_unexpected_trans(_, _, _) -> ok.
handle_trans_request_abort(_, _, _, _) -> ok.
handle_segment_reply(_, _, _, _, _) -> ok.
