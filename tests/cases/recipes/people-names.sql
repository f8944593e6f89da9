--- before
INSERT INTO people VALUES (1, 'Ada Lovelace'), (2, 'Plato'), (3, 'Johann Sebastian Bach'), (4, 'Grace Murray')
--- old
INSERT INTO people VALUES (11, 'Alan Turing');
UPDATE people SET name = 'Grace Hopper' WHERE id = 4
--- new
INSERT INTO people (id, first_name, last_name) VALUES (12, 'Emmy', 'Noether');
UPDATE people SET last_name = 'King' WHERE id = 1
--- both
SELECT id, name, first_name, last_name FROM people ORDER BY id
--> 1|Ada King|Ada|King
--> 2|Plato|Plato|∅
--> 3|Johann Sebastian Bach|Johann|Sebastian Bach
--> 4|Grace Hopper|Grace|Hopper
--> 11|Alan Turing|Alan|Turing
--> 12|Emmy Noether|Emmy|Noether
--- shape
CREATE TABLE people (id bigint PRIMARY KEY, first_name text, last_name text)
--- after
SELECT id, first_name, last_name FROM people ORDER BY id
--> 1|Ada|King
--> 2|Plato|∅
--> 3|Johann|Sebastian Bach
--> 4|Grace|Hopper
--> 11|Alan|Turing
--> 12|Emmy|Noether
--- back
SELECT id, name FROM people ORDER BY id
--> 1|Ada King
--> 2|Plato
--> 3|Johann Sebastian Bach
--> 4|Grace Hopper
--> 11|Alan Turing
--> 12|Emmy Noether
