# What the failed tests of "go test -v" said: that comes before their verdicts,
# and between what other tests say. The last lines of each.
/^=== (RUN|PAUSE|CONT|NAME) / { test = $3; next }
/^ *--- FAIL: / {
	n = split(said[$3], line, "\n")
	for (i = (n > most ? n - most : 1); i < n; i++) print line[i]
	print
	next
}
/^ *--- (PASS|SKIP): / { delete said[$3]; next }
/^(ok|FAIL|PASS|-test\.shuffle)/ { test = ""; next }
test != "" { said[test] = said[test] $0 "\n" }
