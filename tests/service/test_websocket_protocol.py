"""RFC 6455 as seen by a bare socket, in the order of the Autobahn test suite's cases 1 to 7."""

import asyncio
import json
import struct

import pytest

from tests.support.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    ServerFrame,
    close_frame,
    frame,
    handshake,
    masked,
    raw_websocket,
)
from tests.support.service import Service

PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1002, 1007, 1009
QUESTION = b'{"type":"ping"}'
ANSWER = {"type": "pong"}
INVALID_JSON = {"type": "error", "code": "invalid_json", "message": "Invalid JSON"}
ONE_MIB = 1_048_576


def _padded(size: int) -> bytes:
    """Return a message of exactly ``size`` bytes that is answered by ``pong``."""
    start, end = b'{"type":"ping","x":"', b'"}'
    return start + b"x" * (size - len(start) - len(end)) + end


# 1. Framing


@pytest.mark.parametrize("size", [125, 126, 127, 128, 65_535, 65_536, ONE_MIB])
async def test_messages_of_every_length_encoding_are_read(service: Service, size: int) -> None:
    async with raw_websocket(service.port) as client:
        assert await client.ask(frame(TEXT, _padded(size))) == ANSWER


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_empty_message_is_not_json(service: Service, opcode: int) -> None:
    async with raw_websocket(service.port) as client:
        assert await client.ask(frame(opcode)) == INVALID_JSON


async def test_message_in_a_binary_frame_is_accepted(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        assert await client.ask(frame(BINARY, QUESTION)) == ANSWER


async def test_a_length_may_be_encoded_longer_than_needed(service: Service) -> None:
    key = b"\x01\x02\x03\x04"
    async with raw_websocket(service.port) as client:
        head = bytes([0x80 | TEXT, 0x80 | 127]) + struct.pack("!Q", len(QUESTION))
        assert await client.ask(head + key + masked(QUESTION, key)) == ANSWER


async def test_zero_mask_is_accepted(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        assert await client.ask(bytes([0x80 | TEXT, 0x80 | len(QUESTION)]) + bytes(4) + QUESTION) == ANSWER


async def test_an_unmasked_frame_is_a_protocol_error(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(frame(TEXT, QUESTION, mask=False))
        assert await client.closed() == PROTOCOL_ERROR


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_frame_beyond_one_mib_closes_with_1009(service: Service, opcode: int) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(frame(opcode, bytes(ONE_MIB + 1)))
        assert await client.closed() == TOO_BIG


async def test_close_reason_arrives_although_the_client_is_still_sending(service: Service) -> None:
    """A TCP reset would discard the close frame with the reason."""
    async with raw_websocket(service.port) as client:
        head = bytes([0x80 | TEXT, 0x80 | 127]) + struct.pack("!Q", 64 * ONE_MIB)
        await client.send(head + bytes(4), *[bytes(ONE_MIB)] * 8)
        assert await client.closed() == TOO_BIG


async def test_a_message_beyond_one_mib_in_fragments_closes_with_1009(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        half = bytes(ONE_MIB // 2)
        await client.send(frame(TEXT, half, fin=False), frame(CONTINUATION, half, fin=False), frame(CONTINUATION, b"x"))
        assert await client.closed() == TOO_BIG


@pytest.mark.parametrize("length", [2**31, 2**63 - 1, 2**63, 2**64 - 1])
async def test_an_announced_length_allocates_nothing(service: Service, length: int) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(bytes([0x80 | TEXT, 0x80 | 127]) + struct.pack("!Q", length) + bytes(4))
        assert await client.closed() in (TOO_BIG, PROTOCOL_ERROR)


# 2. Pings and pongs


@pytest.mark.parametrize("payload", [b"", b"Hello", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", bytes(125)])
async def test_a_ping_is_answered_with_its_payload(service: Service, payload: bytes) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(frame(PING, payload))
        assert await client.receive() == ServerFrame(PONG, payload, fin=True)


async def test_ten_pings_in_one_segment_are_answered_in_order(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(b"".join(frame(PING, b"%d" % number) for number in range(10)))
        assert [(await client.receive()).payload for _ in range(10)] == [b"%d" % number for number in range(10)]


async def test_ping_sent_byte_by_byte_is_answered(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(*_octets(frame(PING, b"slowly")))
        assert (await client.receive()).payload == b"slowly"


@pytest.mark.parametrize("payload", [b"", b"unsolicited", bytes(125)])
async def test_an_unsolicited_pong_is_ignored(service: Service, payload: bytes) -> None:
    async with raw_websocket(service.port) as client:
        assert await client.ask(frame(PONG, payload), frame(TEXT, QUESTION)) == ANSWER


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
async def test_a_control_frame_beyond_125_bytes_is_a_protocol_error(service: Service, opcode: int) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(frame(opcode, struct.pack("!H", 1000) + bytes(124)))
        assert await client.closed() == PROTOCOL_ERROR


# 3. Reserved bits


@pytest.mark.parametrize("reserved", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
async def test_reserved_bits_are_a_protocol_error(service: Service, reserved: int, opcode: int) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(frame(opcode, reserved=reserved))
        assert await client.closed() == PROTOCOL_ERROR


# 4. Opcodes


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
async def test_reserved_opcodes_are_a_protocol_error(service: Service, opcode: int) -> None:
    async with raw_websocket(service.port) as client:
        assert await client.ask(frame(TEXT, QUESTION)) == ANSWER
        await client.send(frame(opcode, b"data"))
        assert await client.closed() == PROTOCOL_ERROR


# 5. Fragmentation


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
async def test_a_fragmented_control_frame_is_a_protocol_error(service: Service, opcode: int) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(frame(opcode, fin=False))
        assert await client.closed() == PROTOCOL_ERROR


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_fragments_of_one_byte_make_a_message(service: Service, opcode: int) -> None:
    async with raw_websocket(service.port) as client:
        assert await client.ask(b"".join(_fragments(opcode, QUESTION))) == ANSWER
        assert await client.ask(*_fragments(opcode, QUESTION)) == ANSWER


async def test_empty_fragments_are_ignored(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        parts = [frame(TEXT, fin=False), frame(CONTINUATION, QUESTION, fin=False), frame(CONTINUATION)]
        assert await client.ask(*parts) == ANSWER
        assert await client.ask(frame(TEXT, fin=False), frame(CONTINUATION)) == INVALID_JSON


@pytest.mark.parametrize("together", [True, False])
async def test_a_ping_between_fragments_is_answered_at_once(service: Service, together: bool) -> None:
    first, second, last = (
        frame(TEXT, QUESTION[:5], fin=False),
        frame(CONTINUATION, QUESTION[5:9], fin=False),
        frame(CONTINUATION, QUESTION[9:]),
    )
    parts = [first, frame(PING, b"one"), second, frame(PING, b"two"), last]
    async with raw_websocket(service.port) as client:
        await client.send(*([b"".join(parts)] if together else parts))
        assert [(await client.receive()).payload for _ in range(2)] == [b"one", b"two"]
        assert await client.answer() == ANSWER


async def test_a_pong_between_fragments_is_ignored(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        parts = [frame(TEXT, QUESTION[:5], fin=False), frame(PONG), frame(CONTINUATION, QUESTION[5:])]
        assert await client.ask(*parts) == ANSWER


@pytest.mark.parametrize("fin", [True, False])
async def test_a_continuation_of_nothing_is_a_protocol_error(service: Service, fin: bool) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(frame(CONTINUATION, QUESTION, fin=fin))
        assert await client.closed() == PROTOCOL_ERROR


async def test_a_continuation_after_the_last_fragment_is_a_protocol_error(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        assert await client.ask(*_fragments(TEXT, QUESTION)) == ANSWER
        await client.send(frame(CONTINUATION, b"more"))
        assert await client.closed() == PROTOCOL_ERROR


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_message_within_another_is_a_protocol_error(service: Service, opcode: int) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(frame(TEXT, QUESTION[:5], fin=False), frame(opcode, QUESTION))
        assert await client.closed() == PROTOCOL_ERROR


async def test_complete_message_after_fragments_is_read(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        for _ in range(3):
            assert await client.ask(*_fragments(TEXT, QUESTION)) == ANSWER
            assert await client.ask(frame(TEXT, QUESTION)) == ANSWER


# 6. UTF-8


@pytest.mark.parametrize(
    "text",
    [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",  # a lone surrogate
        b"\xf4\x90\x80\x80",  # above U+10FFFF
        b"\xc0\xaf",  # overlong encoding
        b"\x80",
        b"\xff",
        b"\xe2\x82",  # truncated
        b"\xf8\x88\x80\x80\x80",
    ],
)
async def test_invalid_utf_8_text_closes_with_1007(service: Service, text: bytes) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(frame(TEXT, text))
        assert await _code_of_close(client) == INVALID_DATA
    async with raw_websocket(service.port) as client:
        await client.send(*_fragments(TEXT, text))
        assert await _code_of_close(client) == INVALID_DATA


@pytest.mark.parametrize("text", ["κόσμε", "𝄞", "\x00", "�", "\U0010ffff", "￾"])
async def test_utf_8_may_be_split_anywhere(service: Service, text: str) -> None:
    message = json.dumps({"type": "ping", "x": text}, ensure_ascii=False).encode()
    start = message.index(b"x") + 3
    async with raw_websocket(service.port) as client:
        for at in range(start, len(message)):
            parts = [frame(TEXT, message[:at], fin=False), frame(CONTINUATION, message[at:])]
            assert await client.ask(b"".join(parts)) == ANSWER


async def test_non_utf_8_bytes_are_not_json(service: Service) -> None:
    """Binary frames have no encoding that they could violate."""
    async with raw_websocket(service.port) as client:
        assert await client.ask(frame(BINARY, b"\xff\xfe")) == INVALID_JSON


# 7. Close


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
async def test_a_valid_close_code_is_echoed(service: Service, code: int) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(close_frame(code, "tschüß".encode()))
        assert await client.closed() == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535])
async def test_an_invalid_close_code_is_a_protocol_error(service: Service, code: int) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(close_frame(code))
        assert await client.closed() == PROTOCOL_ERROR


async def test_a_close_without_a_code_is_answered_without_a_code(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(close_frame())
        assert await client.closed() == 1005


async def test_close_with_a_truncated_code_is_a_protocol_error(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(frame(CLOSE, b"\x03"))
        assert await client.closed() == PROTOCOL_ERROR


async def test_close_reason_in_invalid_utf_8_closes_with_1007(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(close_frame(1000, b"\xff\xfe"))
        assert await client.closed() in (INVALID_DATA, PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "after",
    [frame(TEXT, QUESTION), frame(PING), close_frame(1000), b"\xff\xff\xff\xff"],
    ids=["text", "ping", "close", "garbage"],
)
async def test_data_after_a_close_is_ignored(service: Service, after: bytes) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(close_frame(1000) + after)
        received = await client.receive()
        assert (received.opcode, received.code) == (CLOSE, 1000)
        assert await client.ended() == b""


async def test_a_close_between_fragments_closes(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(frame(TEXT, QUESTION[:5], fin=False), close_frame(1000))
        assert await client.closed() in (1000, PROTOCOL_ERROR)


async def test_messages_before_a_close_in_the_same_segment_are_handled(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(frame(TEXT, QUESTION) * 3 + close_frame(1000))
        assert await client.closed() == 1000


# Segments


@pytest.mark.parametrize("message", [QUESTION, _padded(130), _padded(65_536)])
async def test_a_message_cut_at_any_position_is_read(service: Service, message: bytes) -> None:
    """Cut at every position of the head and of the first bytes of the payload."""
    whole = frame(TEXT, message)
    async with raw_websocket(service.port) as client:
        for at in range(1, 20):
            assert await client.ask(whole[:at], whole[at:]) == ANSWER


async def test_a_ping_cut_at_every_position_is_answered(service: Service) -> None:
    payload = bytes(range(125))
    whole = frame(PING, payload)
    async with raw_websocket(service.port) as client:
        for at in range(1, len(whole)):
            await client.send(whole[:at], whole[at:])
            assert (await client.receive()).payload == payload


async def test_message_sent_byte_by_byte_is_read(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        assert await client.ask(*_octets(frame(TEXT, QUESTION))) == ANSWER


async def test_several_frames_in_one_segment_are_answered_in_order(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        questions = [b'{"type":"unsubscribe","matchId":%d}' % number for number in range(1, 11)]
        await client.send(b"".join(frame(TEXT, question) for question in questions))
        assert [(await client.answer())["matchId"] for _ in range(10)] == list(range(1, 11))


@pytest.mark.parametrize("cut", [1, 2, 5, 9])
async def test_a_segment_may_end_inside_the_next_frame(service: Service, cut: int) -> None:
    two = frame(TEXT, QUESTION) + frame(TEXT, QUESTION)
    async with raw_websocket(service.port) as client:
        half = len(two) // 2
        await client.send(two[: half + cut])
        assert await client.answer() == ANSWER
        assert await client.ask(two[half + cut :]) == ANSWER


async def test_client_that_sends_before_acceptance_is_served(service: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    client = RawWebSocket(reader, writer)
    await client.send(handshake(service.port), frame(TEXT, QUESTION), frame(PING, b"early"))
    async with asyncio.timeout(5):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    await client.send(frame(PING, b"last"))
    while (await client.receive()).payload != b"last":
        pass
    await client.close()


async def _code_of_close(client: RawWebSocket) -> int:
    """Return the server's close code; the server waits for our close frame before it closes the connection."""
    received = await client.receive()
    assert received.opcode == CLOSE
    await client.send(close_frame(received.code))
    assert await client.ended() == b""
    return received.code


def _fragments(opcode: int, payload: bytes) -> list[bytes]:
    last = len(payload) - 1
    return [frame(CONTINUATION if at else opcode, payload[at : at + 1], fin=at == last) for at in range(len(payload))]


def _octets(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]
