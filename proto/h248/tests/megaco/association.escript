#!/usr/bin/env escript
%% -*- erlang -*-
%% Erlang/OTP's megaco application as the other end of an association over UDP: its engine, not only
%% its codec. Says its port, then each thing that happens on a line of its own; ends with its input.
%%
%% What it is asked about a context decides what it does:
%%   1  answers at once             2  answers in segments
%%   3  says Pending, answers late  4  asks back: contexts 11, 12 and 13

-mode(compile).
-export([handle_connect/2, handle_disconnect/3, handle_syntax_error/3, handle_message_error/3,
         handle_trans_request/3, handle_trans_long_request/3, handle_trans_reply/4, handle_trans_ack/4,
         handle_unexpected_trans/3, handle_trans_request_abort/4, handle_segment_reply/5]).

main(_) ->
    ok = megaco:start(),
    Mid = {domainName, {'DomainName', "otp.example", asn1_NOVALUE}},
    ok = megaco:start_user(Mid, [
        {user_mod, ?MODULE}, {user_args, []}, {protocol_version, 3},
        {encoding_mod, megaco_compact_text_encoder}, {encoding_config, []}, {send_mod, megaco_udp},
        {segment_send, infinity}, {segment_reply_ind, true}, {max_pdu_size, 1452}, {auto_ack, true}]),
    {ok, Transport} = megaco_udp:start_transport(),
    Handle = megaco:user_info(Mid, receive_handle),
    {ok, _, Port} = open(Transport, Handle, 40000),
    say("port ~w", [Port]),
    io:get_line("").

open(Transport, Handle, Port) when Port < 40100 ->
    case catch megaco_udp:open(Transport, [{port, Port}, {receive_handle, Handle}, {serialize, true}]) of
        {ok, Socket, Pid} -> {ok, {Socket, Pid}, Port};
        _ -> open(Transport, Handle, Port + 1)
    end.

say(Format, Arguments) ->
    io:format(Format ++ "~n", Arguments).

handle_connect(_, _) -> ok.
handle_disconnect(_, _, _) -> ok.
handle_syntax_error(_, _, Error) -> say("syntax ~0p", [Error]), reply.
handle_message_error(_, _, Error) -> say("error ~w", [element(2, Error)]), no_reply.

handle_trans_request(Connection, _, [Action | _]) ->
    Context = element(2, Action),
    say("asked ~w", [Context]),
    case Context of
        2 -> {{handle_ack, 2}, [result(N, 300) || N <- lists:seq(100, 107)]};
        3 -> {pending, 3};
        4 ->
            [megaco:cast(Connection, [question(N)], [{reply_data, N}]) || N <- [11, 12, 13]],
            {discard_ack, [result(4, 1)]};
        _ -> {{handle_ack, Context}, [result(Context, 1)]}
    end.

handle_trans_long_request(_, _, Context) ->
    timer:sleep(1500),
    {{handle_ack, Context}, [result(Context, 1)]}.

handle_trans_reply(_, _, {ok, {Number, Last, Replies}}, Context) ->
    say("segment ~w of ~w with ~w ~w", [Number, Context, commands(Replies), Last]);
handle_trans_reply(_, _, {ok, Replies}, Context) ->
    say("answered ~w with ~w", [Context, commands(Replies)]);
handle_trans_reply(_, _, Error, Context) ->
    say("failed ~w: ~0p", [Context, Error]).

handle_trans_ack(_, _, Status, Context) -> say("acknowledged ~w ~0p", [Context, Status]).
handle_unexpected_trans(_, _, Transaction) -> say("unexpected ~0p", [Transaction]).
handle_trans_request_abort(_, _, _, _) -> say("aborted", []), ok.
handle_segment_reply(_, _, _, Number, Last) -> say("confirmed ~w ~w", [Number, Last]).

termination() -> {megaco_term_id, false, ["t", "1"]}.

question(Context) ->
    Command = {subtractReq, {'SubtractRequest', [termination()], asn1_NOVALUE}},
    {'ActionRequest', Context, asn1_NOVALUE, asn1_NOVALUE,
     [{'CommandRequest', Command, asn1_NOVALUE, asn1_NOVALUE}]}.

result(Context, Size) ->
    Error = {'ErrorDescriptor', 600, lists:duplicate(Size, $x)},
    {'ActionReply', Context, asn1_NOVALUE, asn1_NOVALUE,
     [{notifyReply, {'NotifyReply', [termination()], Error}}]}.

commands(Replies) ->
    lists:sum([length(element(5, Reply)) || Reply <- Replies]).
