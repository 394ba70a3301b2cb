package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// unbounded are names of net/http whose calls wait for an answer for ever.
var unbounded = map[string]bool{"DefaultClient": true, "Get": true, "Head": true, "Post": true, "PostForm": true}

// Every HTTP client has a time-out, and the SDK's settings are read where its
// clients get theirs: an answer that never comes must stop nobody for good.
func TestCallsAreBounded(t *testing.T) {
	t.Parallel()
	clients, loads := 0, 0
	for _, p := range packages(t) {
		if strings.HasPrefix(p.ImportPath, "test/") {
			continue
		}
		for _, name := range p.GoFiles {
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			where := p.ImportPath + "/" + name
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CompositeLit:
					if selects(n.Type, "http", "Client") {
						clients++
						if !sets(n, "Timeout") {
							t.Errorf("%s:%d: a client without a Timeout", where, fset.Position(n.Pos()).Line)
						}
					}
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && x.Name == "http" && unbounded[n.Sel.Name] {
						t.Errorf("%s:%d: http.%s has no bound", where, fset.Position(n.Pos()).Line, n.Sel.Name)
					}
					if n.Sel.Name == "LoadDefaultConfig" {
						if loads++; where != "internal/cli/aws.go" {
							t.Errorf("%s:%d: use loadAWS of internal/cli, whose calls have a bound", where, fset.Position(n.Pos()).Line)
						}
					}
				}
				return true
			})
		}
	}
	if clients < 4 || loads != 1 {
		t.Errorf("%d clients and %d readings of the SDK's settings found, want all clients and one reading", clients, loads)
	}
}

// selects reports whether e is pkg.name.
func selects(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg && s.Sel.Name == name
}

// sets reports whether the literal sets the field.
func sets(lit *ast.CompositeLit, field string) bool {
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			if k, ok := kv.Key.(*ast.Ident); ok && k.Name == field {
				return true
			}
		}
	}
	return false
}
