"""Bytes of a row of the tables that grow, on PostgreSQL: python -m tests.bench.row_sizes.

Attribution's rows are those of a study of 20,000 images with two activations each. Naming's are what its service makes
of 20,000 activations and two simulated annotators, who put 1,000 of each category where they belong: of ten, five by
making a concept, four one by one, and one is discarded. Sizes are PostgreSQL's own, with TOAST and indexes, once it is
vacuumed.
"""

from __future__ import annotations

import json
import random
import sys
import uuid

import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table

from onoma.v1 import naming_pb2 as pb
from onoma.v1 import types_pb2
from onoma.v1.naming_pb2_grpc import NamingServiceStub
from services.attribution import runs
from services.attribution.tables import Activation, ExplainedImage, MapRun
from services.runtime.database import open_database
from services.runtime.settings import RuntimeSettings
from tests.bench.naming_load import CATEGORIES, Stack, running_stack

IMAGES, ACTIVATIONS_AN_IMAGE = 20_000, 2
PLACED = 1_000  # of each category, by each annotator
ANNOTATORS = 2
TABLES = {
    "attribution": ("explained_image", "activation"),
    "naming": ("study_activation", "act", "concept", "placement"),
}


def main() -> None:
    """Measures, and prints a table or JSON."""
    chance = random.Random(0)
    with running_stack("postgresql", with_gateway=False) as stack:
        assert stack.postgresql is not None
        study_id = _name(stack.calls(), chance)
        _explain(stack, study_id, chance)
        with psycopg.connect(
            host=stack.postgresql.folder, user="onoma", dbname="postgres", autocommit=True
        ) as connection:
            rows = [
                {"table": f"{schema}.{table}", **_size(connection, schema, table)}
                for schema, tables in TABLES.items()
                for table in tables
            ]
            server = connection.info.server_version // 10_000
    if "--json" in sys.argv:
        print(json.dumps({"postgresql": server, "tables": rows}))
        return
    printed = Table("table", "rows", "bytes a row", "of these indexes", title=f"PostgreSQL {server}")
    for row in rows:
        printed.add_row(row["table"], f"{row['rows']:,}", f"{row['bytes']:.0f}", f"{row['index_bytes']:.0f}")
    Console().print(printed)


def _size(connection: psycopg.Connection, schema: str, table: str) -> dict[str, float]:
    name = sql.Identifier(schema, table)
    connection.execute(sql.SQL("VACUUM {}").format(name))
    [count] = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()
    query = "SELECT pg_total_relation_size(%(name)s), pg_indexes_size(%(name)s)"
    total, indexes = connection.execute(query, {"name": name.as_string(connection)}).fetchone()
    return {"rows": count, "bytes": total / count, "index_bytes": indexes / count}


def _activations(chance: random.Random) -> dict[str, list[tuple[str, str]]]:
    """Image and activation ids, as long as real ones, of each category."""
    return {
        category: [
            (image_id, f"{chance.getrandbits(64):016x}")
            for image_id in (f"{chance.getrandbits(256):064x}" for _ in range(IMAGES // 2 // len(CATEGORIES)))
            for _ in range(ACTIVATIONS_AN_IMAGE)
        ]
        for category in CATEGORIES
    }


def _name(calls: NamingServiceStub, chance: random.Random) -> str:
    """A study that the naming service holds, with acts; returns its id."""
    request = pb.CreateStudyRequest(
        name="rows", model="net", dataset="photos", xnn_set="xnns", categories=CATEGORIES
    )
    study_id = calls.CreateStudy(request).study.study_id
    activations = _activations(chance)
    calls.PublishActivations(
        pb.PublishActivationsRequest(
            study_id=study_id,
            activations=types_pb2.ActivationColumns(
                activation_id=[activation_id for _, activation_id in pairs],
                category=[category] * len(pairs),
                image_id=[image_id for image_id, _ in pairs],
            ),
        )
        for category, pairs in activations.items()
    )
    calls.OpenStudy(pb.OpenStudyRequest(study_id=study_id))
    for number in range(ANNOTATORS):
        invitation = pb.InviteAnnotatorRequest(study_id=study_id, display_name=f"simulated {number}")
        annotator_id = calls.InviteAnnotator(invitation).annotator.annotator_id
        for category, pairs in activations.items():
            placed = [activation_id for _, activation_id in pairs[:PLACED]]
            for revision, command in enumerate(_commands(placed)):
                calls.Act(
                    pb.ActRequest(
                        study_id=study_id,
                        annotator_id=annotator_id,
                        category=category,
                        request_id=str(uuid.uuid4()),
                        base_revision=revision,
                        command=command,
                    )
                )
    return study_id


def _commands(placed: list[str]) -> list[pb.Command]:
    found = []
    for start in range(0, len(placed), 10):
        *of_concept, last = placed[start : start + 10]
        concept_id = str(uuid.uuid4())
        create = pb.CreateConcept(
            concept_id=concept_id, name=f"the concept {start // 10}", activation_ids=of_concept[:5]
        )
        found.append(pb.Command(create=create))
        for one in of_concept[5:]:
            found.append(pb.Command(assign=pb.AssignActivations(concept_id=concept_id, activation_ids=[one])))
        discard = pb.DiscardActivations(activation_ids=[last], reason=pb.DISCARD_REASON_UNCLEAR)
        found.append(pb.Command(discard=discard))
    return found


def _explain(stack: Stack, study_id: str, chance: random.Random) -> None:
    """The rows of a study's maps."""
    assert stack.postgresql is not None
    settings = RuntimeSettings(data_dir=stack.folder / "attribution", database_url=stack.postgresql.url)
    engine = open_database(settings, "attribution")
    run = MapRun(
        study_id=study_id,
        salt=runs.new_salt(),
        model="net",
        model_hash="",
        xnn_set="xnns",
        xnn_hash="",
        dataset="photos",
        dataset_hash="",
        attachment_layer="",
        map_layer="",
        map_height=14,
        map_width=14,
        mode="strict",
        contrastive=True,
        significant_share=0.9,
        version="",
        method="",
    )
    images, activations = [], []
    for number in range(IMAGES):
        category, image_id = CATEGORIES[number * len(CATEGORIES) // IMAGES], f"{chance.getrandbits(256):064x}"
        shard_key = f"{random.Random(number // 256).getrandbits(256):064x}"
        images.append(
            ExplainedImage(
                study_id=study_id,
                category=category,
                image_id=image_id,
                dnn_score=chance.random(),
                xnn_score=chance.random(),
                predicted_class=category,
                significant_count=ACTIVATIONS_AN_IMAGE,
            ).model_dump()
        )
        activations += [
            Activation(
                study_id=study_id,
                activation_id=runs.activation_id(run.salt, category, image_id, x_feature),
                category=category,
                image_id=image_id,
                x_feature=x_feature,
                x=chance.random(),
                contribution=chance.random(),
                share=chance.random(),
                map_sum=chance.random(),
                map_scale=chance.random(),
                shard_key=shard_key,
                shard_start=chance.randrange(10_000),
                shard_index=ACTIVATIONS_AN_IMAGE * (number % 256) + x_feature,
                crc32=chance.getrandbits(32),
            ).model_dump()
            for x_feature in range(ACTIVATIONS_AN_IMAGE)
        ]
    runs.add_whole(engine, run, activations, images)
    engine.dispose()


if __name__ == "__main__":
    main()
