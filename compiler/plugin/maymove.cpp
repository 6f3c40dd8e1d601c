// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Which calls may end in a move, decided for the whole module at once: only what can't move needs no test
// after the call. To be wrong on the side of "may" costs two instructions, on the other side the thread.

#include "popcorn.h"

#include "llvm/IR/AttributeMask.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/LineIterator.h"
#include "llvm/Support/MemoryBuffer.h"

namespace popcorn {

static cl::opt<std::string> NeverFile("popcorn-never", cl::value_desc("file"),
	cl::desc("Names of external functions, one a line, that never come to a migration point"));

// What the back end calls by itself in the place of an instruction.
static const char *const GeneratedCalls[] = {
#define HANDLE_LIBCALL(code, name) name,
#include "llvm/IR/RuntimeLibcalls.def"
#undef HANDLE_LIBCALL
	// ... and what its optimizer makes of loops and of other calls.
	"bcmp", "memcmp", "strlen", "wcslen", "memchr", "memccpy", "mempcpy", "stpcpy", "strchr",
};

static const char *const RuntimeCalls[] = {
	"__popcorn_save", "__popcorn_next", "__popcorn_ss_overflow", "__popcorn_sigsetjmp", "__popcorn_land",
	"__popcorn_division",
};

static const Function *calledFunction(const CallBase &CB)
{
	const Value *V = CB.getCalledOperand()->stripPointerCasts();

	while (auto *A = dyn_cast<GlobalAlias>(V)) {
		if (A->isInterposable())
			return nullptr;
		V = A->getAliasee()->stripPointerCasts();
	}
	return dyn_cast<Function>(V);
}

static void addClosure(const Function *Root, DenseSet<const Function *> &Set)
{
	SmallVector<const Function *> Work{Root};

	while (!Work.empty()) {
		const Function *F = Work.pop_back_val();

		if (!Set.insert(F).second)
			continue;
		for (const Instruction &I : instructions(*F))
			if (auto *CB = dyn_cast<CallBase>(&I))
				if (const Function *G = calledFunction(*CB))
					Work.push_back(G);
	}
}

NeverMoves::NeverMoves(Module &M)
{
	auto add = [&](StringRef Name) {
		if (const GlobalValue *G = M.getNamedValue(Name))
			if (auto *F = dyn_cast_or_null<Function>(G->getAliaseeObject()))
				addClosure(F, Set);
	};

	for (const char *Name : GeneratedCalls)
		if (Name)
			add(Name);
	for (const char *Name : RuntimeCalls)
		add(Name);
	if (NeverFile.empty())
		return;
	auto File = MemoryBuffer::getFile(NeverFile);
	if (!File) {
		M.getContext().emitError("-popcorn-never: " + NeverFile + ": " + File.getError().message());
		return;
	}
	for (line_iterator Line(**File); !Line.is_at_eof(); ++Line) {
		// A program's own function of that name is another one, unless the library calls it, too.
		const GlobalValue *G = M.getNamedValue(Line->trim());
		if (G && !G->hasLocalLinkage())
			add(Line->trim());
	}
}

// Null if it isn't known here. A weak alias says nothing: the link may find another function of that name.
bool mayReachPoint(const CallBase &CB, const NeverMoves &Never)
{
	if (isa<IntrinsicInst>(CB) || CB.isInlineAsm() || isSetjmp(CB) || isJumpMarker(CB) || isLanding(CB))
		return false;
	const Function *F = calledFunction(CB);
	return !F || !Never.contains(*F);
}

bool MayMove::isSite(const CallBase &CB) const
{
	if (!mayReachPoint(CB, Never))
		return false;
	const Function *F = calledFunction(CB);
	return !F || F->isDeclaration() || F->isInterposable() || Set.contains(F);
}

MayMove::MayMove(Module &M, const NeverMoves &Never) : Never(Never)
{
	DenseMap<const Function *, SmallVector<const Function *, 4>> Callers;
	SmallVector<const Function *> Work;

	for (const Function &F : M) {
		bool May = false;

		if (F.isDeclaration() || Never.contains(F) || F.hasFnAttribute(Attribute::Naked))
			continue;
		for (const Instruction &I : instructions(F)) {
			auto *CB = dyn_cast<CallBase>(&I);
			if (!CB || !mayReachPoint(*CB, Never))
				continue;
			const Function *G = calledFunction(*CB);
			if (!G || G->isDeclaration() || G->isInterposable())
				May = true;
			else
				Callers[G].push_back(&F);
		}
		if (May)
			Work.push_back(&F);
	}
	while (!Work.empty()) {
		const Function *F = Work.pop_back_val();

		if (!Set.insert(F).second)
			continue;
		for (const Function *Caller : Callers.lookup(F))
			Work.push_back(Caller);
	}
}

// While a frame is being captured it returns poison, after which its caller does not look at the value; it
// touches the thread's state; and a function that never returns does return then.
template <typename FunctionOrCall> static void strip(FunctionOrCall &F, unsigned Args)
{
	AttributeMask Ret;

	for (Attribute::AttrKind K : {Attribute::NoUndef, Attribute::NonNull, Attribute::Dereferenceable,
				      Attribute::DereferenceableOrNull, Attribute::Alignment, Attribute::NoAlias,
				      Attribute::Range, Attribute::NoFPClass})
		Ret.addAttribute(K);
	F.removeRetAttrs(Ret);
	for (unsigned I = 0; I < Args; I++) {
		F.removeParamAttr(I, Attribute::Returned);
		F.removeParamAttr(I, Attribute::Writable);
		F.removeParamAttr(I, Attribute::Initializes);
	}
	for (Attribute::AttrKind K : {Attribute::Memory, Attribute::NoReturn, Attribute::WillReturn, Attribute::NoSync,
				      Attribute::NoFree, Attribute::NoRecurse, Attribute::NoCallback,
				      Attribute::Speculatable, Attribute::AllocKind, Attribute::AllocSize})
		F.removeFnAttr(K);
	F.removeFnAttr("alloc-family");
}

void stripPromises(Function &F)
{
	strip(F, F.arg_size());
}

void stripPromises(CallBase &CB)
{
	strip(CB, CB.arg_size());
}

} // namespace popcorn
