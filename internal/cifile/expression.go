package cifile

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// expression is a condition of rules, such as
//
//	$CI_COMMIT_BRANCH == "main" && ($DEPLOY || $TITLE =~ /^release/i)
//
// Its value is a text or nil; what is neither nil nor empty holds.
type expression interface {
	value(e environment) (*string, error)
}

// expressions are small; errors of one that is evaluated are of patterns in variables.
type (
	variableOf string
	constant   struct{ text *string }
	pattern    string // of Go's, which are GitLab's
	comparison struct {
		left, right expression
		operator    string
	}
	both struct {
		left, right expression
		and         bool
	}
)

func truth(is bool) *string {
	if !is {
		return nil
	}
	text := "true"
	return &text
}

func (v variableOf) value(e environment) (*string, error) { return e.get(string(v)), nil }
func (c constant) value(environment) (*string, error)     { return c.text, nil }
func (p pattern) value(environment) (*string, error)      { return truth(true), nil }

func (b both) value(e environment) (*string, error) {
	left, err := holds(b.left, e)
	if err != nil || left != b.and {
		return truth(left), err
	}
	right, err := holds(b.right, e)
	return truth(right), err
}

func (c comparison) value(e environment) (*string, error) {
	left, err := c.left.value(e)
	if err != nil {
		return nil, err
	}
	switch c.operator {
	case "==", "!=":
		right, err := c.right.value(e)
		same := (left == nil) == (right == nil) && (left == nil || *left == *right)
		return truth(same == (c.operator == "==")), err
	default:
		source, err := c.pattern(e)
		if err != nil {
			return nil, err
		}
		matched := false
		if left != nil && source != "" {
			expr, err := regexp.Compile(source)
			if err != nil {
				return nil, fmt.Errorf("the pattern %s: %w", source, err)
			}
			matched = expr.MatchString(*left)
		}
		return truth(matched == (c.operator == "=~")), nil
	}
}

// pattern is the right side of =~: a pattern, or a variable that has one. "" matches
// nothing.
func (c comparison) pattern(e environment) (string, error) {
	if p, is := c.right.(pattern); is {
		return string(p), nil
	}
	text, err := c.right.value(e)
	if err != nil || text == nil {
		return "", err
	}
	source, is := literalPattern(*text)
	if !is {
		return "", fmt.Errorf("%q is no pattern: it has to stand between slashes", *text)
	}
	return source, nil
}

// literalPattern reads /pattern/flags.
func literalPattern(text string) (string, bool) {
	end := strings.LastIndexByte(text, '/')
	if end < 1 || text[0] != '/' || strings.Trim(text[end+1:], "ims") != "" {
		return "", false
	}
	source, flags := text[1:end], text[end+1:]
	if flags != "" {
		source = "(?" + flags + ")" + source
	}
	return strings.ReplaceAll(source, `\/`, "/"), true
}

func holds(x expression, e environment) (bool, error) {
	if x == nil {
		return true, nil
	}
	v, err := x.value(e)
	return v != nil && *v != "", err
}

// longestExpression bounds the work of reading one, and how deep it is.
const longestExpression = 4096

// parser reads an expression from left to right.
type parser struct {
	rest  string
	depth int
}

func parseExpression(text string) (expression, error) {
	if len(text) > longestExpression {
		return nil, fmt.Errorf("the expression has more than %d bytes", longestExpression)
	}
	p := &parser{rest: text}
	e, err := p.or()
	if err == nil && p.skip() != "" {
		err = fmt.Errorf("what is %q for?", p.rest)
	}
	if err != nil {
		return nil, fmt.Errorf("read the expression %q: %w", text, err)
	}
	return e, nil
}

func (p *parser) skip() string {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	return p.rest
}

func (p *parser) take(token string) bool {
	if !strings.HasPrefix(p.skip(), token) {
		return false
	}
	p.rest = p.rest[len(token):]
	return true
}

func (p *parser) or() (expression, error)  { return p.chain("||", p.and) }
func (p *parser) and() (expression, error) { return p.chain("&&", p.compare) }

func (p *parser) chain(operator string, part func() (expression, error)) (expression, error) {
	left, err := part()
	for err == nil && p.take(operator) {
		var right expression
		right, err = part()
		left = both{left, right, operator == "&&"}
	}
	return left, err
}

func (p *parser) compare() (expression, error) {
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	for _, operator := range []string{"==", "!=", "=~", "!~"} {
		if !p.take(operator) {
			continue
		}
		right, err := p.operand()
		if err != nil {
			return nil, err
		}
		if _, is := right.(constant); is && strings.Contains(operator, "~") {
			return nil, fmt.Errorf("after %s comes a pattern between slashes, or a variable", operator)
		}
		return comparison{left, right, operator}, nil
	}
	return left, nil
}

var (
	variableToken = regexp.MustCompile(`^\$[a-zA-Z_][a-zA-Z0-9_]*`)
	patternToken  = regexp.MustCompile(`^/(?:\\.|[^/\\])+/[ims]*`)
	textToken     = regexp.MustCompile(`^(?:"[^"]*"|'[^']*')`)
	nullToken     = regexp.MustCompile(`^null\b`)

	errOperand = errors.New("a variable, a text in quotes, null, or a pattern between slashes has to stand there")
)

func (p *parser) operand() (expression, error) {
	if p.take("(") {
		p.depth++
		if p.depth > deepest {
			return nil, fmt.Errorf("more than %d parentheses", deepest)
		}
		inner, err := p.or()
		if err == nil && !p.take(")") {
			err = errors.New("a parenthesis is not closed")
		}
		p.depth--
		return inner, err
	}
	p.skip()
	for _, token := range []struct {
		expr *regexp.Regexp
		make func(text string) (expression, error)
	}{
		{variableToken, func(text string) (expression, error) { return variableOf(text[1:]), nil }},
		{textToken, func(text string) (expression, error) { text = text[1 : len(text)-1]; return constant{&text}, nil }},
		{nullToken, func(string) (expression, error) { return constant{}, nil }},
		{patternToken, parsePattern},
	} {
		if found := token.expr.FindString(p.rest); found != "" {
			p.rest = p.rest[len(found):]
			return token.make(found)
		}
	}
	if p.rest == "" {
		return nil, fmt.Errorf("it ends too early: %w", errOperand)
	}
	return nil, fmt.Errorf("at %q: %w", p.rest, errOperand)
}

func parsePattern(text string) (expression, error) {
	source, _ := literalPattern(text)
	if _, err := regexp.Compile(source); err != nil {
		return nil, fmt.Errorf("the pattern %s: %w", text, err)
	}
	return pattern(source), nil
}
