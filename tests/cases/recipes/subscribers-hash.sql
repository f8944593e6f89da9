--- before
INSERT INTO subscribers VALUES (1, 'Ada@example.org'), (2, 'b@example.org'), (3, NULL), (4, 'd@example.org')
--- old
INSERT INTO subscribers VALUES (11, 'old@example.org');
UPDATE subscribers SET email = 'dd@example.org' WHERE id = 4
--- new
INSERT INTO subscribers (id, email_hash) VALUES (12, sha256('new@example.org'))
--- both
SELECT id, email, email_hash = sha256(lower(email)::bytea) FROM subscribers ORDER BY id
--> 1|Ada@example.org|t
--> 2|b@example.org|t
--> 3|∅|∅
--> 4|dd@example.org|t
--> 11|old@example.org|t
--> 12|∅|∅
--- shape
CREATE TABLE subscribers (id bigint PRIMARY KEY, email_hash bytea)
--- after
SELECT id FROM subscribers WHERE email_hash = ANY (ARRAY[sha256('ada@example.org'), sha256('b@example.org'),
    sha256('dd@example.org'), sha256('old@example.org'), sha256('new@example.org')]) ORDER BY id
--> 1
--> 2
--> 4
--> 11
--> 12
--- undone
SELECT * FROM subscribers ORDER BY id
--> 1|Ada@example.org
--> 2|b@example.org
--> 3|∅
--> 4|dd@example.org
--> 11|old@example.org
--> 12|∅
