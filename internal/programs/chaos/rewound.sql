INSERT INTO rewound (from_life, from_tick, to_life, to_tick, everything, worker)
VALUES ($1, $2, $3, $4, $5, $6)
