#!/usr/bin/env escript
%% -*- erlang -*-
%% Decodes every FILE.ber of a folder by the ASN.1 module of its version in Erlang/OTP's megaco
%% application and encodes what came out again. Prints one line for each message that cannot be decoded
%% or whose octets come back changed, then `done`.

-mode(compile).

main([Folder]) ->
    Files = lists:sort(filelib:wildcard(filename:join(Folder, "*.ber"))),
    lists:foreach(fun recode/1, Files),
    io:format("done ~p~n", [length(Files)]).

recode(File) ->
    {ok, Octets} = file:read_file(File),
    Codec = codec(Octets),
    case catch Codec:decode('MegacoMessage', Octets) of
        {ok, Message, Rest} when Rest =/= <<>> ->
            io:format("~s: ~p octets too many: ~0P~n", [filename:basename(File), byte_size(Rest), Message, 40]);
        {ok, Message, <<>>} -> again(File, Codec, Message, Octets);
        {ok, Message} -> again(File, Codec, Message, Octets);
        Reason -> io:format("~s: decode: ~0P~n", [filename:basename(File), Reason, 60])
    end.

%% The module of the version that a message's header says. All agree on where it stands.
codec(Octets) ->
    Version = case catch megaco_ber_media_gateway_control_v3:decode('MegacoMessage', Octets) of
        {ok, Message, _} -> element(2, element(3, Message));
        {ok, Message} -> element(2, element(3, Message));
        _ -> 3
    end,
    case Version of
        1 -> megaco_ber_media_gateway_control_v1;
        2 -> megaco_ber_media_gateway_control_v2;
        3 -> megaco_ber_media_gateway_control_v3
    end.

again(File, Codec, Message, Octets) ->
    case catch Codec:encode('MegacoMessage', Message) of
        {ok, Octets} -> ok;
        {ok, Other} -> io:format("~s: changed: ~p~n", [filename:basename(File), Other]);
        Reason -> io:format("~s: encode: ~0P~n", [filename:basename(File), Reason, 60])
    end.
