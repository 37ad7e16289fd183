#!/usr/bin/env escript
%% -*- erlang -*-
%% Decodes every FILE.in of a folder with Erlang/OTP's megaco application and encodes it again, in
%% its long form to FILE.pretty and in its short form to FILE.compact. Prints one line for each
%% message that fails, then `done`.

-mode(compile).

main([Folder]) ->
    Files = lists:sort(filelib:wildcard(filename:join(Folder, "*.in"))),
    lists:foreach(fun recode/1, Files),
    io:format("done ~p~n", [length(Files)]).

recode(File) ->
    {ok, Octets} = file:read_file(File),
    case catch megaco_pretty_text_encoder:decode_message([], dynamic, Octets) of
        {ok, Message} ->
            encode(File, megaco_pretty_text_encoder, ".pretty", Message),
            encode(File, megaco_compact_text_encoder, ".compact", Message);
        Reason ->
            io:format("~s: decode: ~0P~n", [filename:basename(File), Reason, 40])
    end.

encode(File, Encoder, Suffix, Message) ->
    case catch Encoder:encode_message([], version(Message), Message) of
        {ok, Octets} ->
            ok = file:write_file(filename:rootname(File) ++ Suffix, Octets);
        Reason ->
            io:format("~s: ~s: ~0P~n", [filename:basename(File), Encoder, Reason, 40])
    end.

%% The version field of the message inside 'MegacoMessage'.
version(Message) ->
    element(2, element(3, Message)).
