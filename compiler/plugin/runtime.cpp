// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Code that touches the thread's state or calls the runtime is built here, so that offsets, names and attributes
// of compiler/rt/state.h stand in one place.

#include "popcorn.h"

#include "llvm/IR/DebugInfoMetadata.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

namespace popcorn {

static constexpr unsigned StateBytes = 64;

Runtime::Runtime(Module &M)
    : M(M), C(M.getContext()), DL(M.getDataLayout()), Ptr(PointerType::get(C, 0)),
      I8(Type::getInt8Ty(C)), I32(Type::getInt32Ty(C)), I64(Type::getInt64Ty(C))
{
	Self = M.getGlobalVariable("__popcorn_self");
	if (!Self)
		Self = new GlobalVariable(M, ArrayType::get(I8, StateBytes), false, GlobalValue::ExternalLinkage,
					  nullptr, "__popcorn_self");
	Self->setThreadLocalMode(GlobalValue::LocalExecTLSModel);
	Self->setDSOLocal(true);
	if (!Self->getAlign())
		Self->setAlignment(Align(16));
}

Value *Runtime::field(IRBuilderBase &B, StateField F)
{
	return B.CreateConstInBoundsGEP1_64(I8, B.CreateThreadLocalAddress(Self), F);
}

LoadInst *Runtime::load(IRBuilderBase &B, StateField F, const Twine &Name)
{
	bool Word = F == Flag || F == Unwinding || F == Pins || F == JumpSite;

	return B.CreateAlignedLoad(Word ? I32 : (F == JumpValue ? (Type *)I64 : Ptr), field(B, F),
				   Align(Word ? 4 : 8), true, Name);
}

StoreInst *Runtime::store(IRBuilderBase &B, Value *V, StateField F)
{
	return B.CreateAlignedStore(V, field(B, F), DL.getABITypeAlign(V->getType()), true);
}

LoadInst *Runtime::loadBoth(IRBuilderBase &B)
{
	static_assert(Flag == 0 && Unwinding == 4);
	return B.CreateAlignedLoad(I64, field(B, Flag), Align(8), true);
}

bool Runtime::isField(const LoadInst &L, StateField F)
{
	APInt Offset(64, 0);
	const Value *Base = L.getPointerOperand()->stripAndAccumulateConstantOffsets(DL, Offset, true);
	auto *Address = dyn_cast<IntrinsicInst>(Base);

	return L.isVolatile() && Offset == F && Address &&
	       Address->getIntrinsicID() == Intrinsic::threadlocal_address && Address->getArgOperand(0) == Self;
}

FunctionCallee Runtime::function(StringRef Name, Type *Ret, ArrayRef<Type *> Args)
{
	FunctionCallee Callee = M.getOrInsertFunction(Name, FunctionType::get(Ret, Args, false));

	if (auto *F = dyn_cast<Function>(Callee.getCallee())) {
		F->addFnAttr(Attribute::Cold);
		F->addFnAttr(Attribute::NoUnwind);
		F->setDSOLocal(true);
	}
	return Callee;
}

static CallInst *cold(CallInst *Call)
{
	Call->addFnAttr(Attribute::Cold);
	return Call;
}

CallInst *Runtime::point(IRBuilderBase &B)
{
	return cold(B.CreateCall(function("__popcorn_point", B.getVoidTy(), {})));
}

CallInst *Runtime::save(IRBuilderBase &B, uint64_t Bytes)
{
	return cold(B.CreateCall(function("__popcorn_save", Ptr, {I64}), B.getInt64(Bytes), "record"));
}

CallInst *Runtime::next(IRBuilderBase &B)
{
	return cold(B.CreateCall(function("__popcorn_next", Ptr, {}), {}, "next"));
}

CallInst *Runtime::overflow(IRBuilderBase &B)
{
	CallInst *Call = cold(B.CreateCall(function("__popcorn_ss_overflow", B.getVoidTy(), {})));

	Call->setDoesNotReturn();
	return Call;
}

void Runtime::pin(CallInst &Call, StringRef Why)
{
	IRBuilder<> B(&Call), A(Call.getNextNode());
	GlobalVariable *&Text = Reasons[Why];

	if (!Text)
		Text = B.CreateGlobalString(Why, "popcorn.why");
	A.SetCurrentDebugLocation(Call.getDebugLoc());
	Value *Before = load(B, PinWhy);
	store(B, Text, PinWhy);
	store(B, B.CreateAdd(load(B, Pins), B.getInt32(1)), Pins);
	store(A, A.CreateSub(load(A, Pins), A.getInt32(1)), Pins);
	store(A, Before, PinWhy);
}

CallInst *Runtime::division(IRBuilderBase &B)
{
	CallInst *Call = cold(B.CreateCall(function("__popcorn_division", B.getVoidTy(), {})));

	Call->setDoesNotReturn();
	return Call;
}

CallInst *Runtime::land(IRBuilderBase &B, Value *Landing)
{
	FunctionCallee Callee = function("__popcorn_land", I32, {Ptr});

	cast<Function>(Callee.getCallee())->addFnAttr(Attribute::ReturnsTwice);
	CallInst *Call = B.CreateCall(Callee, Landing);
	Call->setCanReturnTwice();
	return Call;
}

Instruction *gatherLocals(BasicBlock &From)
{
	BasicBlock &Entry = From.getParent()->getEntryBlock();
	BasicBlock::iterator Front = Entry.begin();

	for (Instruction &I : make_early_inc_range(From)) {
		if (!isa<AllocaInst>(I) || !isa<ConstantInt>(cast<AllocaInst>(I).getArraySize()))
			continue;
		if (&I == &*Front)
			++Front;
		else
			I.moveBefore(Entry, Front);
	}
	return &*Front;
}

void copyArguments(Function &F)
{
	IRBuilder<> B(gatherLocals(F.getEntryBlock()));

	for (Argument &A : F.args()) {
		if (A.use_empty())
			continue;
		Value *Copy = B.CreateFreeze(&A, A.getName());
		A.replaceUsesWithIf(Copy, [&](Use &U) { return U.getUser() != Copy; });
	}
}

// As the driver's own messages name places: by the path from where the compiler was called, if the file lies below it.
static std::string place(const DIFile *File, unsigned Line)
{
	SmallString<128> Here, Path;

	sys::fs::current_path(Here);
	if (File->getDirectory() != Here && !sys::path::is_absolute(File->getFilename()))
		Path = File->getDirectory();
	sys::path::append(Path, File->getFilename());
	return (Path + ":" + Twine(Line) + ": ").str();
}

void diagnose(const Instruction &I, const Twine &Message, DiagnosticSeverity Severity)
{
	const Function &F = *I.getFunction();
	std::string Text;

	if (const DebugLoc &L = I.getDebugLoc())
		Text = place(L->getFile(), L->getLine());
	else if (const DISubprogram *SP = F.getSubprogram())
		Text = place(SP->getFile(), SP->getLine());
	Text += (F.getName() + "(): " + Message).str();
	I.getContext().diagnose(DiagnosticInfoInlineAsm(Text, Severity));
}

} // namespace popcorn
