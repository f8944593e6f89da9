--- before
CREATE TABLE authors (id int PRIMARY KEY);
CREATE TABLE books (id int PRIMARY KEY, author int);
INSERT INTO authors VALUES (1), (2), (3);
INSERT INTO books VALUES (1, 1), (2, 99), (3, 2), (4, NULL), (5, 3)
--- old
INSERT INTO books VALUES (11, 3);
UPDATE books SET author = 1 WHERE id = 5
--- new
INSERT INTO books (id, author_new) VALUES (12, 2);
UPDATE books SET author_new = 3 WHERE id = 1
--- both
SELECT * FROM books ORDER BY id
--> 1|3|3
--> 2|99|∅
--> 3|2|2
--> 4|∅|∅
--> 5|1|1
--> 11|3|3
--> 12|2|2
--- shape
CREATE TABLE authors (id int PRIMARY KEY);
CREATE TABLE books (id int PRIMARY KEY, author int REFERENCES authors)
--- after
SELECT * FROM books ORDER BY id
--> 1|3
--> 2|∅
--> 3|2
--> 4|∅
--> 5|1
--> 11|3
--> 12|2
--- undone
SELECT * FROM books ORDER BY id
--> 1|3
--> 2|99
--> 3|2
--> 4|∅
--> 5|1
--> 11|3
--> 12|2
--- back
SELECT * FROM books ORDER BY id
--> 1|3
--> 2|∅
--> 3|2
--> 4|∅
--> 5|1
--> 11|3
--> 12|2
