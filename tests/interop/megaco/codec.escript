#!/usr/bin/env escript
%% -*- erlang -*-
%% How long Erlang/OTP's megaco takes to decode and encode each FILE.in (text) and FILE.ber (binary) of a
%% folder, in time on a processor: `pretty|compact|ber decode_us encode_us`, means over all messages. The binary
%% figure is that of the ASN.1 codec alone: names stay numbers and values stay wrapped. Arguments: folder,
%% rounds.

-mode(compile).

main([Folder, Rounds]) ->
    Files = lists:sort(filelib:wildcard(filename:join(Folder, "*.in"))),
    N = list_to_integer(Rounds),
    Messages = [begin
        {ok, Octets} = file:read_file(F),
        {ok, M} = megaco_pretty_text_encoder:decode_message([], dynamic, Octets),
        M
    end || F <- Files],
    run("pretty", megaco_pretty_text_encoder, Messages, N),
    run("compact", megaco_compact_text_encoder, Messages, N),
    ber([begin {ok, B} = file:read_file(F), B end || F <- lists:sort(filelib:wildcard(filename:join(Folder, "*.ber")))], N).

ber(Octets, N) ->
    Codec = megaco_ber_media_gateway_control_v3,
    Messages = [begin {ok, M} = Codec:decode('MegacoMessage', B), M end || B <- Octets],
    Decode = fun() -> lists:foreach(fun(B) -> {ok, _} = Codec:decode('MegacoMessage', B) end, Octets) end,
    Encode = fun() -> lists:foreach(fun(M) -> {ok, _} = Codec:encode('MegacoMessage', M) end, Messages) end,
    time("ber", Decode, Encode, length(Messages), N).

run(Name, Codec, Messages, N) ->
    Texts = [element(2, {ok, _} = Codec:encode_message([], 3, M)) || M <- Messages],
    Decode = fun() -> lists:foreach(fun(T) -> {ok, _} = Codec:decode_message([], dynamic, T) end, Texts) end,
    Encode = fun() -> lists:foreach(fun(M) -> {ok, _} = Codec:encode_message([], 3, M) end, Messages) end,
    time(Name, Decode, Encode, length(Messages), N).

time(Name, Decode, Encode, Length, N) ->
    repeat(Decode, N div 10 + 1),
    repeat(Encode, N div 10 + 1),
    D = on_processor(fun() -> repeat(Decode, N) end),
    E = on_processor(fun() -> repeat(Encode, N) end),
    Count = N * Length,
    io:format("~s ~.3f ~.3f~n", [Name, D / Count, E / Count]).

%% Microseconds that all threads of this process were on a processor.
on_processor(F) ->
    {Before, _} = statistics(runtime),
    F(),
    {After, _} = statistics(runtime),
    (After - Before) * 1000.

repeat(_, 0) -> ok;
repeat(F, N) -> F(), repeat(F, N - 1).
