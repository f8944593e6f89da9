--- before
INSERT INTO accounts VALUES (1, 'one'), (2, NULL), (3, 'three'), (4, 'four');
INSERT INTO profiles SELECT id FROM accounts
--- old
UPDATE accounts SET bio = 'forty' WHERE id = 4;
UPDATE accounts SET bio = 'two' WHERE id = 2
--- new
UPDATE profiles SET bio = 'anew' WHERE account_id = 1
--- both
SELECT id, a.bio, p.bio FROM accounts a JOIN profiles p ON id = account_id ORDER BY id
--> 1|one|anew
--> 2|two|two
--> 3|three|three
--> 4|forty|forty
--- shape
CREATE TABLE accounts (id bigint PRIMARY KEY);
CREATE TABLE profiles (account_id bigint PRIMARY KEY REFERENCES accounts, bio text)
--- after
SELECT * FROM profiles ORDER BY account_id
--> 1|anew
--> 2|two
--> 3|three
--> 4|forty
--- undone
SELECT * FROM accounts ORDER BY id
--> 1|one
--> 2|two
--> 3|three
--> 4|forty
