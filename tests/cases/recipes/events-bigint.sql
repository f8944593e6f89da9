--- before
INSERT INTO events VALUES (1, 'a'), (2, 'b'), (3, 'c'), (2147483647, 'last')
--- old
INSERT INTO events VALUES (11, 'old');
UPDATE events SET id = 33 WHERE id = 3
--- new
UPDATE events SET what = 'bb' WHERE id = 2
--- both
SELECT id, what, id_big FROM events ORDER BY id
--> 1|a|1
--> 2|bb|2
--> 11|old|11
--> 33|c|33
--> 2147483647|last|2147483647
--- shape
CREATE TABLE events (what text, id bigint PRIMARY KEY)
--- after
SELECT id, what FROM events ORDER BY id
--> 1|a
--> 2|bb
--> 11|old
--> 33|c
--> 2147483647|last
--- undone
SELECT * FROM events ORDER BY id
--> 1|a
--> 2|bb
--> 11|old
--> 33|c
--> 2147483647|last
