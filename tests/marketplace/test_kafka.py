import json
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from kafka_brokers import QUICK, running_brokers
from made_slates import START, make_feedback, make_slate, same_rows

from marketplace.catalogue_records import CatalogueUpdate, Subject
from marketplace.kafka.client import Brokers, KafkaError, OffsetExpired, TopicPartition, Topics
from marketplace.kafka.consumer import TopicConsumer
from marketplace.kafka.effects import Consumption, apply
from marketplace.kafka.positions import PositionsInLog, SharedPositions
from marketplace.kafka.producer import LogProducer
from marketplace.kafka.ranges import held_ranges, read_range
from marketplace.kafka.records import (
    Delivery,
    KafkaRecord,
    Topic,
    catalogue_of,
    catalogue_records,
    event_records,
    feedback_of,
    quarantined_records,
    slate_records,
    slates_of,
)
from marketplace.kafka.shared_catalogue import SharedCatalogue
from marketplace.log import QUARANTINED, Receipt
from marketplace.schema import SLATE
from marketplace.slate import slates_to_table
from marketplace.slate_columns import PLAIN_SLATE
from marketplace.sqlite_log import SqliteLog

GOLDEN = Path(__file__).with_name("kafka_records.json")  # what version 1 of every topic looks like
SECONDS = 40  # until it is taken for stuck
CARRIED = (Topic.SLATES, Topic.FEEDBACK, Topic.ITEMS)


@pytest.fixture(scope="module")
def brokers(tmp_path_factory):
    with running_brokers(tmp_path_factory.mktemp("broker")) as (brokers, _):
        yield brokers


@pytest.fixture
def own_topics(brokers, request):
    return replace(brokers, prefix=f"{brokers.prefix}{request.node.name}.")


@pytest.fixture
def log(tmp_path):
    """A service's log with something of every kind."""
    log = SqliteLog(tmp_path / "log.sqlite")
    for n in range(20):
        log.append(make_slate(f"r{n}", minutes=n, user_id=f"u{n % 7}"))
    orders = make_feedback(*((f"o{n}", f"r{n}", "order", "a", n, 9.5) for n in range(5)))
    log.append_feedback(orders, order_keys=[f"key{n}" for n in range(5)])
    log.append_feedback(make_feedback(("bad", "nowhere", "click", "a", 1, None)), reasons=["unknown_request"])
    log.put_catalogue(Subject.ITEM, [CatalogueUpdate("a", {"price": 9.0}, 4)], known={"a"}, time=START)
    yield log
    log.close()


@pytest.fixture
def target(tmp_path):
    target = SqliteLog(tmp_path / "target.sqlite")
    yield target
    target.close()


def send(log, brokers, **options):
    """Everything on record, until it is acknowledged; the number of records sent."""
    producer, sent, deadline = LogProducer(log, brokers, partitions=2, **options), 0, time.monotonic() + SECONDS
    while (now := producer.step(0.02)) or producer.waiting:
        sent += now
        assert time.monotonic() < deadline
    producer.close()
    return sent


def reader(into, brokers, *, effect=None, topics=CARRIED, **options):
    """Reads all partitions by itself, so that it need not wait for a group."""
    positions = PositionsInLog(into, Topics(brokers, topics, partitions=2))
    effect = effect or (lambda deliveries: apply(deliveries, into))
    return TopicConsumer(effect, brokers, positions, topics=topics, partitions=2, **options)


def receive(into, brokers, **options):
    """Until everything that is there has been read."""
    consumer, outcome, deadline = reader(into, brokers, **options), Consumption(), time.monotonic() + SECONDS
    while not consumer.at_end:
        outcome += consumer.step(0.02)
        assert time.monotonic() < deadline
    assert consumer.behind == 0
    consumer.close()
    return outcome


def produce(brokers, topic, *records):
    producer = brokers.producer(lambda error: None)
    for key, value, headers in records:
        producer.produce(brokers.prefix + topic, value, key, headers=headers)
    assert producer.flush(5) == 0


def test_everything_on_record_reaches_another_log_exactly_and_once(log, target, own_topics):
    assert send(log, own_topics) == 20 + 5 + 1 + 1
    assert send(log, own_topics) == 0
    assert receive(target, own_topics).receipt == Receipt(20 + 5 + 1, 0, {"unknown_request": 1})
    assert same_rows(target.slates(), log.slates())
    assert same_rows(target.feedback(), log.feedback())
    assert same_rows(target.quarantined(), log.quarantined())
    assert target.catalogue_after(0)[0][0].fields == log.catalogue_after(0)[0][0].fields
    log.append(make_slate("later"))
    assert send(log, own_topics) == 1
    assert receive(target, own_topics).receipt == Receipt(1, 0)
    assert receive(target, own_topics, start="earliest").receipt.accepted == 0
    assert send(log, own_topics, again=True) == 28
    assert receive(target, own_topics).receipt.accepted == 0


def test_an_order_that_two_machines_accepted_counts_once(log, target, own_topics, tmp_path):
    other = SqliteLog(tmp_path / "other.sqlite")
    again = make_feedback(("other name", None, "order", "a", 3, 9.5))
    other.append_feedback(again, order_keys=["key3"])
    send(log, own_topics)
    receive(target, own_topics)
    send(other, own_topics)
    assert receive(target, own_topics).receipt == Receipt(0, 0, {"repeated_order": 1})
    other.close()


def test_what_cannot_be_used_is_a_dead_letter_and_the_rest_is_stored(log, target, own_topics):
    bodies, _ = log.bodies_after(0, most=1)
    good = slate_records(bodies)[0]
    send(log, own_topics)
    produce(
        own_topics,
        Topic.SLATES,
        KafkaRecord(b"u", good.value[:-9], good.headers),
        KafkaRecord(b"u", good.value, [("version", "2"), ("id", "r0")]),
        KafkaRecord(b"u", good.value, [("version", "1"), ("id", "another")]),
        KafkaRecord(b"u", b"", []),
    )
    outcome = receive(target, own_topics)
    assert outcome.receipt.accepted == 26
    reasons = sorted(reason for _, reason in outcome.refused)
    assert [reason[:30] for reason in reasons] == [
        "the slate cannot be read: Corr",
        "the slate cannot be read: the ",
        "version 2 of slates; this prog",
        "version none of slates; this p",
    ]
    letters: list[Delivery] = []
    keep = lambda deliveries: (letters.extend(deliveries), Consumption())[1]  # noqa: E731
    receive(target, own_topics, effect=keep, topics=[Topic.DEAD_LETTERS])
    assert sorted(one.headers["refused"] for one in letters) == reasons
    assert {one.topic for one in letters} == {Topic.SLATES}
    again = receive(target, own_topics, topics=[Topic.DEAD_LETTERS], start="earliest")
    assert (again.receipt, len(again.refused)) == (Receipt(0, 0), 4)
    assert receive(target, own_topics, topics=[Topic.DEAD_LETTERS]) == Consumption()


def test_machines_come_to_one_catalogue_and_do_not_echo_it(own_topics, tmp_path):
    logs = [SqliteLog(tmp_path / f"{name}.sqlite") for name in "ab"]
    shared = [SharedCatalogue(log) for log in logs]
    followers = [
        reader(log, own_topics, effect=one.merge, topics=[Topic.ITEMS]) for log, one in zip(logs, shared, strict=True)
    ]
    producers = [
        LogProducer(log, own_topics, partitions=2, is_known=one.holds) for log, one in zip(logs, shared, strict=True)
    ]
    known = {"kettle", "cup"}
    put = [
        (0, "kettle", 5, {"price": 9.0}),
        (1, "kettle", 4, {"price": 8.0, "hidden": True}),
        (1, "cup", 1, {"price": 3.0}),
    ]
    for machine, name, version, values in put:
        update = CatalogueUpdate(name, values, version)
        logs[machine].put_catalogue(Subject.ITEM, [update], known=known, time=START + timedelta(seconds=version))
    sent, settled, start = 0, 0, time.monotonic()
    while settled < 10:  # steps after which a record that was echoed would have come
        for follower, producer in zip(followers, producers, strict=True):
            follower.step(0.02)
            sent += producer.step(0)
        states = [{one.name: one.fields for one in log.catalogue_after(0)[0]} for log in logs]
        waiting = any(producer.waiting for producer in producers)
        settled = settled + 1 if states[0] == states[1] and len(states[0]) == 2 and not waiting else 0
        assert time.monotonic() - start < SECONDS
    kettle = {field: (cell.value, cell.version) for field, cell in states[0]["kettle"].items()}
    assert kettle == {"price": (9.0, 5), "hidden": (True, 4)}
    assert sent <= len(put) + 2  # each update once, and the kettle as both made it
    for one in (*producers, *followers, *logs):
        one.close()


@pytest.mark.slow  # for the time that a group takes to share out its partitions
def test_members_of_a_group_come_and_go_and_every_record_counts_once(target, own_topics, tmp_path):
    log, quick = SqliteLog(tmp_path / "log.sqlite"), replace(own_topics, settings={**QUICK, **own_topics.settings})
    producer = LogProducer(log, own_topics, partitions=4)

    def join():
        effect = lambda deliveries: apply(deliveries, target)  # noqa: E731
        return TopicConsumer(effect, quick, SharedPositions("all"), topics=[Topic.SLATES], partitions=4)

    first, second, came, start, many = join(), None, Consumption(), time.monotonic(), 0
    members = [first]
    while time.monotonic() - start < 12:
        log.append(make_slate(f"r{many}", user_id=f"u{many}"))
        many += 1
        producer.step(0)
        for member in members:
            came += member.step(0.01)
        if second is None and many > 100:
            second = join()
            members.append(second)
        if first in members and time.monotonic() - start > 7:
            first.close()
            members.remove(first)
    while producer.step(0.01) or producer.waiting or came.receipt.accepted < many:
        came += second.step(0.01)
        assert time.monotonic() - start < 60
    second.close()
    assert len(target.slates()) == came.receipt.accepted == many


class FakeConsumer:
    """A client whose topic has the offsets 40 to 89."""

    def __init__(self):
        self.positions, self.error = [], None

    def get_watermark_offsets(self, place, timeout=None, cached=False):
        return 40, 90

    def assign(self, positions):
        self.positions = [one.offset for one in positions]

    def position(self, places):
        return [TopicPartition(one.topic, one.partition, at) for one, at in zip(places, self.positions, strict=True)]

    def poll(self, wait):
        error = self.error
        return error and SimpleNamespace(error=lambda: error, topic=lambda: "slates", partition=lambda: 0)

    def consume(self, most, wait):
        return []


@pytest.mark.parametrize(
    ("kept", "topic", "begins"),
    [(-1001, "", -2), (60, "now", 60), (40, "now", 40), (60, "before", -2), (12, "before", -2)],
)
def test_reading_begins_at_the_position_or_at_the_beginning_of_another_topic(kept, topic, begins):
    fake = FakeConsumer()
    consumer = waiting_consumer(fake, TopicPartition("slates", 0, kept, metadata=topic))
    consumer.step(0)
    assert fake.positions == [begins]
    assert consumer.behind == (90 - begins if begins >= 0 else 0)


def test_records_that_expired_unread_stop_the_consumer_loudly():
    fake = FakeConsumer()
    with pytest.raises(OffsetExpired, match="topic slates, partition 0: 28 records expired before they were read"):
        waiting_consumer(fake, TopicPartition("slates", 0, 12, metadata="now")).step(0)
    consumer = waiting_consumer(fake, TopicPartition("slates", 0, 60, metadata="now"))
    fake.error = KafkaError(KafkaError._AUTO_OFFSET_RESET, "fetch failed: out of range")
    with pytest.raises(OffsetExpired, match=r"out of range.*--again.*consume --from earliest"):
        consumer.step(0)


def waiting_consumer(fake, position):
    positions = SimpleNamespace(
        group="g",
        join=lambda consumer, topics, *, assign, revoke: assign(consumer, [position]),
        kept=lambda consumer, partitions: [position],
    )
    brokers = SimpleNamespace(prefix="", settings={"bootstrap.servers": "127.0.0.1:1"}, consumer=lambda *_: fake)
    consumer = TopicConsumer(lambda _: Consumption(), brokers, positions, topics=[Topic.SLATES], partitions=1)
    consumer._topics = SimpleNamespace(ids=lambda: {"slates": "now"})
    return consumer


def made_records(log):
    """A few records of each topic."""
    bodies, _ = log.bodies_after(0, most=1)
    events, keys, _ = log.events_after(0, most=2)
    return {
        Topic.SLATES: slate_records(bodies),
        Topic.FEEDBACK: event_records(events, keys) + quarantined_records(log.quarantined()),
        Topic.ITEMS: catalogue_records(log.catalogue_after(0)[0]),
    }


def delivered(topic, records):
    return [
        Delivery(topic, topic, 0, place, one.key, one.value, dict(one.headers)) for place, one in enumerate(records)
    ]


def test_records_of_earlier_programs_are_read_and_no_schema_changed_under_its_version(log):
    """Where this fails the change is a mistake, or the topic needs a new version that is read beside the old."""
    golden = json.loads(GOLDEN.read_text())
    kept = {
        topic: [KafkaRecord(bytes.fromhex(key), bytes.fromhex(value), headers) for key, value, headers in golden[topic]]
        for topic in made_records(log)
    }
    slates = slates_of(delivered(Topic.SLATES, kept[Topic.SLATES])).cast(SLATE)
    assert same_rows(slates, slates_to_table([log.slate("r0")]))
    feedback, reasons, keys = feedback_of(delivered(Topic.FEEDBACK, kept[Topic.FEEDBACK]))
    events = pa.concat_tables([log.feedback_of(["o0", "o1"]), log.quarantined().select(QUARANTINED.names[:-1])])
    assert same_rows(feedback, events)
    assert (reasons, keys) == ([None, None, "unknown_request"], ["key0", "key1", None])
    (record,) = catalogue_of(delivered(Topic.ITEMS, kept[Topic.ITEMS]))
    assert record.fields == log.catalogue_after(0)[0][0].fields
    assert [[field.name, str(field.type), field.nullable] for field in PLAIN_SLATE] == golden["slate fields"]


def test_slates_are_keyed_by_shopper_also_in_logs_from_before_that_column(tmp_path):
    path = tmp_path / "old.sqlite"
    log = SqliteLog(path)
    log.append_slates(slates_to_table([make_slate("r0", user_id="سارة"), make_slate("damaged")]))
    log.close()
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("ALTER TABLE slates DROP COLUMN user_id")
    log = SqliteLog(path)
    with closing(sqlite3.connect(path)) as old, old:  # a program from before, beside this one
        old.execute("INSERT INTO slates (request_id, time, body) SELECT 'r1', time, body FROM slates LIMIT 1")
        old.execute("UPDATE slates SET body = x'00' WHERE request_id = 'damaged'")
    log.append(make_slate("r2", user_id="sara"))
    stored, mark = log.bodies_after(0, most=10)
    assert [one.user_id for one in stored] == [None, None, None, "sara"]
    assert [record.key.decode() for record in slate_records(stored)] == ["سارة", "damaged", "سارة", "sara"]
    assert (mark, len(log.slates())) == (4, 2)
    log.close()


def test_brokers_are_named_by_address_or_by_a_file_of_settings(tmp_path):
    file = tmp_path / "client.properties"
    file.write_text("# ours\nbootstrap.servers = a:1,b:2\nsecurity.protocol=SSL\n")
    assert Brokers.of("a:1,b:2").settings == {"bootstrap.servers": "a:1,b:2"}
    assert Brokers.of(str(file)).settings == {"bootstrap.servers": "a:1,b:2", "security.protocol": "SSL"}
    for text, message in (("bootstrap.servers\n", "is not NAME=VALUE"), ("a=b\n", "names no brokers")):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            Brokers.of(str(file))
    with pytest.raises(ValueError, match="'nowhere' is neither HOST:PORT"):
        Brokers.of("nowhere")


def test_ranges_hold_what_the_topics_hold_and_say_what_is_gone(log, own_topics):
    send(log, own_topics)
    held = held_ranges(own_topics, CARRIED, partitions=2)
    assert [(one.topic, one.partition) for one in held] == [(topic, part) for topic in CARRIED for part in (0, 1)]
    assert [sum(one.end - one.start for one in held[at : at + 2]) for at in (0, 2, 4)] == [20, 6, 1]
    read = [one for some in held for batch in read_range(own_topics, some) for one in batch]
    assert slates_of([one for one in read if one.topic is Topic.SLATES]).num_rows == 20
    (some,) = [one for one in held if one.topic is Topic.ITEMS and one.end]
    assert list(read_range(own_topics, replace(some, start=some.end))) == []
    assert replace(some, topic_id="a/b+c", start=3, end=40).name == f"a_b-c-{some.partition}-000000000003-000000000040"
