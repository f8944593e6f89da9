--- before
CREATE TABLE tags (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO tags VALUES (1, 'Red'), (2, 'green'), (3, 'BLUE'), (4, 'pink')
--- old
INSERT INTO tags VALUES (11, 'Old');
UPDATE tags SET name = 'Rose' WHERE id = 4
--- new
INSERT INTO tags (id, name_new) VALUES (12, 'new');
UPDATE tags SET name_new = 'ruby' WHERE id = 1
--- both
SELECT * FROM tags ORDER BY id
--> 1|ruby|ruby
--> 2|green|green
--> 3|BLUE|blue
--> 4|Rose|rose
--> 11|Old|old
--> 12|new|new
--- shape
CREATE TABLE tags (id int PRIMARY KEY, name text UNIQUE)
--- after
SELECT * FROM tags ORDER BY id
--> 1|ruby
--> 2|green
--> 3|blue
--> 4|rose
--> 11|old
--> 12|new
--- undone
SELECT * FROM tags ORDER BY id
--> 1|ruby
--> 2|green
--> 3|BLUE
--> 4|Rose
--> 11|Old
--> 12|new
--- back
SELECT * FROM tags ORDER BY id
--> 1|ruby
--> 2|green
--> 3|blue
--> 4|rose
--> 11|old
--> 12|new
