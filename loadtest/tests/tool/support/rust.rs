//! A lexer for Rust source, as far as paths are concerned.

use std::iter::Peekable;
use std::str::Chars;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// An identifier, a keyword or a number.
    Word(String),
    /// `::`
    PathSeparator,
    /// `{`
    Open,
    /// `}`
    Close,
    /// Any other character.
    Other(char),
}

/// Skips white space, comments, and string, character and byte literals.
pub(crate) struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { chars: text.chars().peekable() }
    }

    fn next_if_eq(&mut self, wanted: char) -> bool {
        self.chars.next_if_eq(&wanted).is_some()
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 1;
        while depth > 0 {
            match self.chars.next() {
                Some('/') if self.next_if_eq('*') => depth += 1,
                Some('*') if self.next_if_eq('/') => depth -= 1,
                Some(_) => {}
                None => return,
            }
        }
    }

    fn skip_quoted(&mut self, quote: char) {
        while let Some(c) = self.chars.next() {
            match c {
                '\\' => drop(self.chars.next()),
                c if c == quote => return,
                _ => {}
            }
        }
    }

    /// Skips a raw string behind its `r`.
    fn skip_raw_string(&mut self) {
        let mut hashes = 0;
        while self.next_if_eq('#') {
            hashes += 1;
        }
        self.chars.next();
        while let Some(c) = self.chars.next() {
            if c == '"' && (0..hashes).all(|_| self.next_if_eq('#')) {
                return;
            }
        }
    }

    /// Distinguishes the literal `'a'` from the lifetime `'a`, which has no closing quote.
    fn skip_char_or_lifetime(&mut self) {
        let mut ahead = self.chars.clone();
        let first = ahead.next();
        if first == Some('\\') || ahead.next() == Some('\'') {
            self.skip_quoted('\'');
        }
    }

    fn word(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
            word.push(c);
        }
        word
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let token = match self.chars.next()? {
                '/' if self.next_if_eq('/') => {
                    self.chars.find(|&c| c == '\n');
                    continue;
                }
                '/' if self.next_if_eq('*') => {
                    self.skip_block_comment();
                    continue;
                }
                '"' => {
                    self.skip_quoted('"');
                    continue;
                }
                '\'' => {
                    self.skip_char_or_lifetime();
                    continue;
                }
                ':' if self.next_if_eq(':') => Token::PathSeparator,
                '{' => Token::Open,
                '}' => Token::Close,
                c if c.is_whitespace() => continue,
                c if c.is_alphanumeric() || c == '_' => {
                    let word = self.word(c);
                    let next = self.chars.peek().copied();
                    match (word.as_str(), next) {
                        ("r" | "br" | "cr", Some('"' | '#')) => {
                            self.skip_raw_string();
                            continue;
                        }
                        _ => Token::Word(word),
                    }
                }
                c => Token::Other(c),
            };
            return Some(token);
        }
    }
}

#[test]
fn comments_and_literals_are_skipped() {
    let text = "a::b // c::d\n/* e /* f */ g */ \"h::\\\"i\" r#\"j\"k\"# 'l' '\\'' b'm' &'n { o }";
    let words: Vec<Token> =
        Lexer::new(text).filter(|token| matches!(token, Token::Word(_))).collect();
    let expected = ["a", "b", "b", "n", "o"].map(|word| Token::Word(word.to_owned()));
    assert_eq!(words, expected);
}
