-- What is kept, for how long, and who still needs it.
--
-- Lock: none on existing objects. Deploy: at any time.

-- The tick, in home's terms, at or below which tombstones of a kind may be gone:
-- a page of the source that was read at an older tick can show things that were
-- deleted since, without anything here to say so. It is thrown away.
CREATE TABLE casq.registry_floors (
    kind text COLLATE "C" PRIMARY KEY,
    life integer NOT NULL,
    tick bigint NOT NULL
);

---- create above / drop below ----

DROP TABLE casq.registry_floors;
