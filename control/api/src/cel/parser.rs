//! From tokens to a tree. Macros are calls here; `check` knows them.

use std::sync::Arc;

use super::issue::Issue;
use super::lexer::{self, Placed, Token};

/// An expression as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expr {
    /// Where it is, in bytes: of an operation its sign, of a call its bracket, as in Kubernetes' messages.
    pub(super) at: usize,
    pub(super) form: Form,
    depth: usize,
}

/// What an expression consists of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    Literal(Literal),
    Ident(String),
    Select { operand: Box<Expr>, field: String, is_optional: bool },
    Index { operand: Box<Expr>, index: Box<Expr>, is_optional: bool },
    Call { target: Option<Box<Expr>>, name: String, arguments: Vec<Expr> },
    And(Vec<Expr>),
    Or(Vec<Expr>),
    If(Box<[Expr; 3]>),
    List(Vec<(Expr, bool)>),
    Map(Vec<(Expr, Expr, bool)>),
}

/// A value that was written down.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
}

/// Deep enough for what people write, and shallow enough for the stack of a worker thread in an unoptimised build.
pub(super) const DEPTH_MAX: usize = 160;

/// What may begin an expression, as Kubernetes' grammar lists it.
const BEGINNINGS: &str =
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// Words that name nothing.
pub(super) const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Reads an expression.
pub(super) fn parse(source: &str) -> Result<Expr, Issue> {
    let tokens = lexer::tokens(source)?;
    let mut parser = Parser { tokens, next: 0, depth: 0, source };
    let expr = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected("extraneous input", "<EOF>")),
    }
}

struct Parser<'a> {
    tokens: Vec<Placed>,
    next: usize,
    depth: usize,
    source: &'a str,
}

// === impl Expr ===

impl Expr {
    fn new(at: usize, form: Form) -> Result<Self, Issue> {
        let deepest = |exprs: &[Self]| exprs.iter().map(|expr| expr.depth).max().unwrap_or(0);
        let below = match &form {
            Form::Literal(_) | Form::Ident(_) => 0,
            Form::Select { operand, .. } => operand.depth,
            Form::Index { operand, index, .. } => operand.depth.max(index.depth),
            Form::Call { target, arguments, .. } => {
                deepest(arguments).max(target.as_ref().map_or(0, |target| target.depth))
            }
            Form::And(terms) | Form::Or(terms) => deepest(terms),
            Form::If(parts) => deepest(&parts[..]),
            Form::List(elements) => elements.iter().map(|(element, _)| element.depth).max().unwrap_or(0),
            Form::Map(entries) => entries.iter().map(|(key, value, _)| key.depth.max(value.depth)).max().unwrap_or(0),
        };
        if below >= DEPTH_MAX {
            return Err(too_deep(at));
        }
        Ok(Self { at, form, depth: below + 1 })
    }
}

fn too_deep(at: usize) -> Issue {
    Issue::new(at, format!("expression recursion limit exceeded: {DEPTH_MAX}"))
}

// === impl Parser ===

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].token
    }

    fn at(&self) -> usize {
        self.tokens[self.next].at
    }

    fn step(&mut self) -> Token {
        let token = self.tokens[self.next].token.clone();
        // The end stays where it is.
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn is_at(&self, mark: &str) -> bool {
        matches!(self.peek(), Token::Mark(found) if *found == mark)
    }

    /// Past a mark, if it is there; and where it was.
    fn take(&mut self, mark: &str) -> Option<usize> {
        let at = self.at();
        self.is_at(mark).then(|| {
            self.step();
            at
        })
    }

    fn demand(&mut self, mark: &str) -> Result<(), Issue> {
        match self.take(mark) {
            Some(_) => Ok(()),
            None if *self.peek() == Token::End => Err(Issue::syntax(self.at(), format!("missing '{mark}' at '<EOF>'"))),
            None => Err(self.unexpected("mismatched input", &format!("'{mark}'"))),
        }
    }

    fn unexpected(&self, what: &str, expected: &str) -> Issue {
        let end = self.tokens.get(self.next + 1).map_or(self.source.len(), |next| next.at);
        let found = match self.peek() {
            Token::End => "<EOF>",
            _ => self.source[self.at()..end].trim_end(),
        };
        Issue::syntax(self.at(), format!("{what} '{found}' expecting {expected}"))
    }

    /// One level deeper; whoever enters leaves.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Issue>) -> Result<T, Issue> {
        if self.depth >= DEPTH_MAX {
            return Err(too_deep(self.at()));
        }
        self.depth += 1;
        let found = read(self);
        self.depth -= 1;
        found
    }

    fn expression(&mut self) -> Result<Expr, Issue> {
        self.deeper(|parser| {
            let condition = parser.any()?;
            let Some(at) = parser.take("?") else { return Ok(condition) };
            let then = parser.any()?;
            parser.demand(":")?;
            let otherwise = parser.expression()?;
            Expr::new(at, Form::If(Box::new([condition, then, otherwise])))
        })
    }

    fn any(&mut self) -> Result<Expr, Issue> {
        let first = self.every()?;
        let at = self.at();
        let mut terms = vec![first];
        while self.take("||").is_some() {
            terms.push(self.every()?);
        }
        if terms.len() == 1 { Ok(terms.remove(0)) } else { Expr::new(at, Form::Or(terms)) }
    }

    fn every(&mut self) -> Result<Expr, Issue> {
        let first = self.binary(0)?;
        let at = self.at();
        let mut terms = vec![first];
        while self.take("&&").is_some() {
            terms.push(self.binary(0)?);
        }
        if terms.len() == 1 { Ok(terms.remove(0)) } else { Expr::new(at, Form::And(terms)) }
    }

    /// Comparisons, sums and products: all lean to the left; `level` is how tightly the operators must bind.
    fn binary(&mut self, level: u8) -> Result<Expr, Issue> {
        let mut left = self.unary()?;
        loop {
            let (name, binds) = match self.peek() {
                Token::Mark("<") => ("_<_", 0),
                Token::Mark("<=") => ("_<=_", 0),
                Token::Mark(">") => ("_>_", 0),
                Token::Mark(">=") => ("_>=_", 0),
                Token::Mark("==") => ("_==_", 0),
                Token::Mark("!=") => ("_!=_", 0),
                Token::Ident(word) if word == "in" => ("@in", 0),
                Token::Mark("+") => ("_+_", 1),
                Token::Mark("-") => ("_-_", 1),
                Token::Mark("*") => ("_*_", 2),
                Token::Mark("/") => ("_/_", 2),
                Token::Mark("%") => ("_%_", 2),
                _ => return Ok(left),
            };
            if binds < level {
                return Ok(left);
            }
            let at = self.at();
            self.step();
            let right = self.binary(binds + 1)?;
            left = Expr::new(at, Form::Call { target: None, name: name.into(), arguments: vec![left, right] })?;
        }
    }

    fn unary(&mut self) -> Result<Expr, Issue> {
        let at = self.at();
        for (mark, name) in [("!", "!_"), ("-", "-_")] {
            let mut count = 0_usize;
            while self.take(mark).is_some() {
                count += 1;
            }
            if count == 0 {
                continue;
            }
            if mark == "-" && count % 2 == 1 {
                // A minus before a number is part of it, so that the least number can be written.
                let literal = match self.peek() {
                    Token::Int(value) => Some(Literal::Int(-value)),
                    Token::IntMin => Some(Literal::Int(i64::MIN)),
                    Token::Double(value) => Some(Literal::Double(-value)),
                    _ => None,
                };
                if let Some(literal) = literal {
                    self.step();
                    let literal = Expr::new(at, Form::Literal(literal))?;
                    return self.member(literal);
                }
            }
            let operand = self.operand()?;
            return if count.is_multiple_of(2) {
                Ok(operand)
            } else {
                Expr::new(at, Form::Call { target: None, name: name.into(), arguments: vec![operand] })
            };
        }
        self.operand()
    }

    fn operand(&mut self) -> Result<Expr, Issue> {
        let primary = self.primary()?;
        self.member(primary)
    }

    /// What hangs on an operand: fields, indices, calls.
    fn member(&mut self, mut operand: Expr) -> Result<Expr, Issue> {
        loop {
            if let Some(at) = self.take(".") {
                let is_optional = self.take("?").is_some();
                let field = match self.peek().clone() {
                    Token::Ident(name) if name != "in" && name != "true" && name != "false" && name != "null" => name,
                    Token::Quoted(name) => name,
                    _ => return Err(self.unexpected("mismatched input", "IDENTIFIER")),
                };
                self.step();
                let open = self.at();
                operand = if !is_optional && self.take("(").is_some() {
                    let arguments = self.arguments(")")?;
                    Expr::new(open, Form::Call { target: Some(Box::new(operand)), name: field, arguments })?
                } else {
                    if !is_optional && self.is_at("{") {
                        return self.message(&operand, &field);
                    }
                    Expr::new(at, Form::Select { operand: Box::new(operand), field, is_optional })?
                };
            } else if let Some(at) = self.take("[") {
                let is_optional = self.take("?").is_some();
                let index = Box::new(self.expression()?);
                self.demand("]")?;
                operand = Expr::new(at, Form::Index { operand: Box::new(operand), index, is_optional })?;
            } else {
                return Ok(operand);
            }
        }
    }

    /// A message is read only as far as its name: there are none here.
    fn message(&self, operand: &Expr, last: &str) -> Result<Expr, Issue> {
        let name = match &operand.form {
            Form::Ident(first) => format!("{first}.{last}"),
            _ => last.to_owned(),
        };
        Err(Issue::undeclared(self.at(), &name))
    }

    fn primary(&mut self) -> Result<Expr, Issue> {
        let at = self.at();
        let literal = |literal| Expr::new(at, Form::Literal(literal));
        match self.peek().clone() {
            Token::Int(value) => {
                self.step();
                literal(Literal::Int(value))
            }
            Token::IntMin => Err(Issue::syntax(at, "invalid int literal".into())),
            Token::Uint(value) => {
                self.step();
                literal(Literal::Uint(value))
            }
            Token::Double(value) => {
                self.step();
                literal(Literal::Double(value))
            }
            Token::String(value) => {
                self.step();
                literal(Literal::String(value))
            }
            Token::Bytes(value) => {
                self.step();
                literal(Literal::Bytes(value))
            }
            Token::Mark("(") => {
                self.step();
                let inner = self.expression()?;
                self.demand(")")?;
                Ok(inner)
            }
            Token::Mark("[") => {
                self.step();
                let elements = self.list()?;
                Expr::new(at, Form::List(elements))
            }
            Token::Mark("{") => {
                self.step();
                let entries = self.map()?;
                Expr::new(at, Form::Map(entries))
            }
            Token::Mark(".") => {
                self.step();
                match self.peek().clone() {
                    Token::Ident(name) => self.named(name, at),
                    _ => Err(self.unexpected("mismatched input", "IDENTIFIER")),
                }
            }
            Token::Ident(name) => self.named(name, at),
            _ => Err(self.unexpected("mismatched input", BEGINNINGS)),
        }
    }

    /// A name, or a call of a function.
    fn named(&mut self, name: String, at: usize) -> Result<Expr, Issue> {
        match name.as_str() {
            "in" => return Err(self.unexpected("mismatched input", BEGINNINGS)),
            reserved if RESERVED.contains(&reserved) => {
                return Err(Issue::syntax(at, format!("reserved identifier: {reserved}")));
            }
            _ => {}
        }
        self.step();
        let literal = match name.as_str() {
            "true" => Some(Literal::Bool(true)),
            "false" => Some(Literal::Bool(false)),
            "null" => Some(Literal::Null),
            _ => None,
        };
        if let Some(literal) = literal {
            return Expr::new(at, Form::Literal(literal));
        }
        let open = self.at();
        if self.take("(").is_some() {
            let arguments = self.arguments(")")?;
            return Expr::new(open, Form::Call { target: None, name, arguments });
        }
        if self.is_at("{") {
            return Err(Issue::undeclared(open, &name));
        }
        Expr::new(at, Form::Ident(name))
    }

    fn arguments(&mut self, close: &str) -> Result<Vec<Expr>, Issue> {
        let mut arguments = Vec::new();
        if self.take(close).is_some() {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression()?);
            if self.take(",").is_none() {
                self.demand(close)?;
                return Ok(arguments);
            }
        }
    }

    fn list(&mut self) -> Result<Vec<(Expr, bool)>, Issue> {
        let mut elements = Vec::new();
        while self.take("]").is_none() {
            let is_optional = self.take("?").is_some();
            elements.push((self.expression()?, is_optional));
            if self.take(",").is_none() {
                self.demand("]")?;
                break;
            }
        }
        Ok(elements)
    }

    fn map(&mut self) -> Result<Vec<(Expr, Expr, bool)>, Issue> {
        let mut entries = Vec::new();
        while self.take("}").is_none() {
            let is_optional = self.take("?").is_some();
            let key = self.expression()?;
            self.demand(":")?;
            entries.push((key, self.expression()?, is_optional));
            if self.take(",").is_none() {
                self.demand("}")?;
                break;
            }
        }
        Ok(entries)
    }
}
